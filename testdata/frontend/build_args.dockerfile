#! --build-arg=Q= --build-arg=A=given --build-arg=TARGETARCH=own
# spec 25, 27: a build argument without text is set; one wins over every default.
FROM alpine
ARG Q
ARG A=default
ARG TARGETARCH=stage
ARG TARGETOS=mine
ARG TARGETVARIANT TARGETSTAGE BUILDPLATFORM
RUN echo ${Q-unset}
