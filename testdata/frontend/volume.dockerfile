# spec 45: a volume is only a note.
FROM alpine
VOLUME ["/data", "/c d"]
VOLUME /x /y
RUN touch /data/a
