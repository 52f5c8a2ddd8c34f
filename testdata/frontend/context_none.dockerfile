#! --context=none
FROM alpine
COPY . /
