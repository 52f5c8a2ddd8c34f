# UndefinedVar: with what was probably meant, and not for what is declared.
FROM alpine
ARG DECLARED VERSION=1
ENV A=$VERSOIN B=$DECLARED C=${NOWHERE:-x}
COPY $SRC /
RUN --mount=type=cache,target=$TARGT,id=$VERSION x
