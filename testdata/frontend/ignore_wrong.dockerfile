#! --ignore=!
# spec 79
FROM alpine
COPY b /
