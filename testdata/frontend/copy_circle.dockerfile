# spec 34
FROM alpine AS a
COPY --from=b /x /
FROM alpine AS b
COPY --from=a /x /
FROM alpine AS c
COPY --from=c /x /
