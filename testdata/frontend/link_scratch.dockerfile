FROM scratch
COPY --link a /
COPY --link b /
