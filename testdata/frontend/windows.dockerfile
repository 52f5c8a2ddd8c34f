#! --platform=windows/amd64
# escape is the usual one: paths are not Windows' own here.
FROM scratch
RUN dir
CMD dir
