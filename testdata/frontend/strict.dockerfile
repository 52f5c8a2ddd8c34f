#! --strict --build-arg=VERSOIN=1
ARG VERSION
FROM alpine AS unused
FROM alpine AS used
FROM alpine$NOPE
ENV A=$NOWHERE
COPY --from=used / /
