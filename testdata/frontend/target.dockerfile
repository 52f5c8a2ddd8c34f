#! --target=BUILD --show=needs
# spec 27, 33, 36
FROM alpine:1 AS build
ARG TARGETSTAGE
RUN one
FROM alpine:2
RUN two
