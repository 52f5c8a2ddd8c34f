#! --platform=linux/arm64 --build-context=x::linux/arm64=docker-image://busybox --build-context=x=docker-image://golang
FROM x
RUN y
