#! --call=targets
# build makes it.
FROM --platform=$BUILDPLATFORM golang:${V} AS build
FROM scratch
# app ships it.
FROM alpine AS app
