#! --no-cache-filter=bulid,Base,x
FROM alpine AS base
RUN one
FROM base AS build
RUN two
