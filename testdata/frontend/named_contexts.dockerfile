#! --build-context=base=docker-image://busybox:1 --build-context=alpine=./lib --build-context=git=https://example.com/a.git#main --build-context=lib=./lib
#! --build-context=layout=oci-layout://dir:tag --build-context=web=https://example.com/x --build-context=none=docker-image://scratch --show=needs
# What stands in for images and stages, wherever one may be named.
FROM golang AS base
RUN never
FROM base
COPY --from=lib /a /
COPY --from=git /b /
COPY --from=web / /c
COPY --from=none /d /
COPY --from=layout /e /
RUN --mount=from=lib,target=/l x
FROM alpine:latest AS fromdir
RUN y
FROM scratch
COPY --from=1 / /
COPY --from=fromdir / /
