# spec 34
FROM alpine AS a
COPY --from=b /x /
RUN --mount=from=b,target=/y true
FROM alpine AS b
FROM a
