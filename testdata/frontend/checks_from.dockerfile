#! --build-arg=TAG=2
# UndefinedArgInFrom, InvalidDefaultArgInFrom, RedundantTargetPlatform, FromPlatformFlagConstDisallowed
ARG TAG
ARG NAME=alpine:3
FROM alpine:${TAG:-1}
FROM busybox:$TAG AS x
FROM alpine$NMAE
FROM --platform=$TARGETPLATFORM alpine
FROM --platform=linux/amd64 alpine AS build-amd64
FROM --platform=linux/amd64 alpine AS other
