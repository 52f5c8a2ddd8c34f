#! --call=outline --target=app --build-arg=B=given
# VERSION is the version of the base.
ARG VERSION=3
ARG BASE=alpine:${VERSION}
ARG UNUSED=1
FROM ${BASE} AS base
# A says something.
ARG A=1
RUN --mount=type=secret,id=token,required a
FROM alpine AS other
ARG NEVER=1
FROM alpine AS helper
ARG HELP=1
RUN --mount=type=secret,id=helper --mount=type=ssh h
# app is what is shipped.
FROM base AS app
ARG B
ARG NEEDED
ENV N="${NEEDED:?must be given}"
COPY --from=helper /h /
RUN --mount=type=ssh,id=key,required b
