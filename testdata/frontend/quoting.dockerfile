# spec 19, 29, 31: what is substituted, and what is left to others.
FROM alpine
ARG X=1
ENV B='$X' C="$X" D=\$X E=$ F="a\"b"
RUN echo $X '$X' "$B"
RUN ["echo", "$HOME"]
CMD echo $X
COPY --chown=$X --chmod=64$X --exclude=$X src$X /dst$X
USER $X
WORKDIR /w$X
VOLUME $X /data
STOPSIGNAL ${X}5
LABEL "key $X"=$C
HEALTHCHECK CMD test $X
ONBUILD RUN echo $X
SHELL ["/bin/bash", "$X"]
