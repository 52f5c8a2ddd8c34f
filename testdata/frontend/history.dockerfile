#! --build-arg=B=2
# spec 52, 83: repeated arguments count once, with the last value.
FROM alpine
ARG A=1 B
ARG A=3
RUN true
ARG TOO
ENV B=env
RUN ["true", "a b"]
COPY a /a
WORKDIR /a
