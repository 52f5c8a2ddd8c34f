#! --show=needs
# spec 33, 34, 36, 38: names in any case, numbers, and only what is needed.
FROM alpine:1 AS a
RUN one
FROM alpine:2 AS b
RUN false
FROM alpine:3 AS a
RUN two
FROM a
COPY --from=A /x /
COPY --from=0 /x /
COPY --from=busybox /bin/busybox /bin/
RUN --mount=from=a,target=/a --mount=from=busybox,target=/b,source=bin list
