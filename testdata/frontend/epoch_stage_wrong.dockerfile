#! --build-arg=SOURCE_DATE_EPOCH=src
FROM scratch AS src
ADD https://example.com/a /
RUN x
FROM alpine
