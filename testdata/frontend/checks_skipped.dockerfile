# check=skip=JSONArgsRecommended,WorkdirRelativePath;experimental=all
FROM alpine AS a
WORKDIR a
CMD x
# check=skip=LegacyKeyValueFormat
ENV A 1
ENV B 2
