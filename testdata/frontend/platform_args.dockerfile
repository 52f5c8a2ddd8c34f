#! --platform=linux/arm/v7
# spec 27: a global default replaces the automatic value for all stages.
ARG TARGETOS=global
FROM --platform=$BUILDPLATFORM alpine AS build
ARG TARGETOS TARGETARCH TARGETVARIANT TARGETPLATFORM
RUN cross
FROM alpine
RUN make
COPY --from=build /out /
