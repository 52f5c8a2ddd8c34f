#! --call=check
FROM alpine
CMD x
COPY --chmod=9 a /
