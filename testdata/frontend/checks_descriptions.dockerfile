# check=experimental=InvalidDefinitionDescription
# VERSION is the version to build.
ARG VERSION=1
# what is this?
ARG OTHER
# nothing
ARG A=1 B=2

# an empty line above the instruction ends nothing
FROM alpine
# the stage
FROM alpine AS build
#
# build does everything.
FROM alpine AS build2
# build3 builds.
FROM alpine AS build3
