# spec 48, 49
FROM alpine
ARG D=deep
WORKDIR sub
WORKDIR /a/b/
WORKDIR ../c/$D
USER 5:7
WORKDIR x
WORKDIR /
RUN pwd
