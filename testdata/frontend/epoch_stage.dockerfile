#! --show=needs
ARG REPO=https://example.com/a.git
ARG SOURCE_DATE_EPOCH=src
FROM scratch AS src
ARG REPO=https://example.com/b.git
ADD $REPO#main /
FROM alpine
ARG SOURCE_DATE_EPOCH
RUN x
