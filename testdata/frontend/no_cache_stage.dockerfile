#! --no-cache-filter=S1
# spec 101
FROM alpine AS s1
RUN a
FROM alpine AS s2
RUN b
COPY --from=s1 /a /
