#! --target=four
# spec 14, 40, 41, 42, 43, 46, 51
FROM alpine AS one
ENTRYPOINT ["a", "b"]
MAINTAINER somebody <a@b.c>
HEALTHCHECK --interval=30s --retries=3 CMD curl -f http://localhost/
FROM alpine AS two
CMD ["c"]
ENTRYPOINT a
FROM alpine AS three
CMD []
ENTRYPOINT []
HEALTHCHECK NONE
STOPSIGNAL 9
FROM alpine AS four
CMD
STOPSIGNAL SIGKILL
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
CMD hello
ENTRYPOINT x
RUN y
FROM scratch
COPY --from=one / /
COPY --from=two / /
COPY --from=three / /
COPY --from=four / /
