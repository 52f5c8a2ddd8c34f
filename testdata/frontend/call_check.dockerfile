#! --call=check
FROM alpine AS Unused
COPY a b $UNDEFINED
CMD x
FROM alpine
MAINTAINER me
