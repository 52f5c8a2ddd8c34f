#! --ignore=node_modules,*.log --show=needs
# CopyIgnoredFile
FROM alpine
COPY a.log b.txt /
ADD node_modules/x /
COPY . /
# check=skip=CopyIgnoredFile
COPY c.log /
COPY --from=busybox d.log /
