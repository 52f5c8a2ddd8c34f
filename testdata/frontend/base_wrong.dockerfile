# spec 37: all wrong bases at once.
ARG EMPTY=
FROM $EMPTY
FROM --platform=$NOPE alpine
FROM --platform=$TARGETPLATFROM alpine
FROM --platform=linux/$NOPE/x alpine
FROM a${b
