# NoEmptyContinuation, JSONArgsRecommended, MaintainerDeprecated, WorkdirRelativePath, MultipleInstructionsDisallowed, LegacyKeyValueFormat,
# SecretsUsedInArgOrEnv

FROM alpine
MAINTAINER me
WORKDIR a
WORKDIR b
RUN a \

  b
ENV A 1
LABEL B 2
ARG API_TOKEN=x
ENV DB_PASSWORD=y PUBLIC_KEY=z
CMD x
CMD ["x"]
ENTRYPOINT x
ENTRYPOINT ["x"]
HEALTHCHECK NONE
HEALTHCHECK CMD true
