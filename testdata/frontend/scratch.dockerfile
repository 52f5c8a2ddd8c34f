#! --platform=linux/arm64
# spec 39, 108: nothing at all has a config.
FROM --platform=linux/amd64 scratch
