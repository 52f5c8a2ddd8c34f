#! --context=https://example.com/a.tar
FROM alpine
COPY . /
RUN --mount=target=/c ls
