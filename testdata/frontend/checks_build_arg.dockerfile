#! --build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all
# check=error=true
FROM alpine AS A
