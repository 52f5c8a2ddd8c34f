#! --platform=linux/amd64,linux/arm64 --show=needs
FROM --platform=$BUILDPLATFORM golang AS build
ARG TARGETARCH
RUN go build $TARGETARCH
FROM alpine
COPY --from=build /out /
