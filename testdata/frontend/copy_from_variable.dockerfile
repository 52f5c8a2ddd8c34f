# spec 30
FROM alpine
ARG X=a
COPY --from=$X /a /
COPY --from=7 /a /
