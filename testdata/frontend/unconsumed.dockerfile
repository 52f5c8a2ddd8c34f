#! --build-arg=VERSOIN=1 --build-arg=B=2 --build-arg=HTTP_PROXY=p --build-arg=USED=1
ARG VERSION
FROM alpine
ARG USED
