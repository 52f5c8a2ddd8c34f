#! --ignore=*,!a
# spec 79: with a pattern that lets in, nothing is certain.
FROM alpine
COPY b /
