# spec 17, 18, 24, 25, 26: who wins, and who sees whom.
ARG GLOBAL=g UNSEEN=u
FROM alpine AS base
ENV abc=hello
ENV abc=bye def=$abc
ARG A=1 B=$A
ENV ONE TWO= THREE=world
ENV SPACED  b   c  "d e"
ARG B2=1
ENV B2=9
ENV X=env
ARG X=arg
ARG Q
ARG GLOBAL
RUN all variables ${UNSEEN:-unseen} $Q
FROM base
RUN inherits everything
FROM alpine
RUN inherits nothing
COPY --from=1 /a /
