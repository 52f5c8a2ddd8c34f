# spec 53, 54: triggers of an image and of a stage, in direct children only.
FROM onbuild AS child
RUN own
FROM child AS grandchild
RUN other
FROM alpine AS parent
ONBUILD ARG WHO=me
ONBUILD COPY --from=busybox /bin/busybox /$WHO
ONBUILD RUN <<EOT
first
EOT
ONBUILD COPY a <<B /o/
text $WHO
B
FROM parent AS mine
RUN last
FROM scratch
COPY --from=grandchild / /
COPY --from=mine / /
