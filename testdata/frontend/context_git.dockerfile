#! --context=https://example.com/a.git#v1:sub --build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1
FROM alpine
COPY . /
