#! --call=check
# An instruction of several lines is several ranges, as BuildKit has them.
FROM alpine
ENV A \
  1
