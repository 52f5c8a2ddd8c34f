# spec 46, 65, 78, 92: everything that is wrong is reported.
FROM alpine
ARG EMPTY
STOPSIGNAL FOO
VOLUME $EMPTY
COPY --chmod=888 a /
COPY --chmod=10000 a /
COPY --chmod=foo a /
RUN []
COPY [ab /
COPY --exclude=[a b /
ADD --checksum=sha256:00 a /
ADD --checksum=md5:00 https://a/b /
ADD --checksum=sha256:00 https://a/b https://a/c /
COPY https://a/b /
COPY https://a/b.git /
ADD https://a/b.git?foo=1 /
COPY <<a/b /
x
a/b
