#! --call=check
FROM alpine
COPYY a b
RNU x
