# The name of every base must be right, also where nothing needs it; an image that nothing needs may be missing.
ARG TAG
FROM alpine:$TAG AS broken
FROM nothing-needs-this AS missing
FROM alpine
