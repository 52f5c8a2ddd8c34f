# spec 9, 10, 12, 14, 15, 32, 43, 53: all at once, each with its place.
RUN early
FROM alpine AS 1x
FORM x
COPY --chwon=a b /
COPY --link=foo a /
COPY --chown=a --chown=b a /
SHELL /bin/sh
CMD ["a", 1]
HEALTHCHECK --interval=1us CMD x
HEALTHCHECK FOO
ONBUILD ONBUILD RUN x
COPY a
EXPOSE
ENV A
RUN --network=foo x
RUN <<EOF
never ends
