#! --no-cache
# spec 101
FROM alpine
RUN a
COPY b /
WORKDIR /c
