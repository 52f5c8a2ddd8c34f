# check=error=true
FROM alpine AS A
CMD x
