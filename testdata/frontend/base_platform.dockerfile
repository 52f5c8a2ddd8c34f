#! --platform=linux/arm64
# The image is made for amd64 alone.
FROM onlyamd64
RUN x
