FROM onbuild-wrong
RUN x
