# spec 102, 103, 105: equal steps are one, however they are written; an argument behind a command does not touch it.
FROM alpine AS a
RUN make \
  # comment
  all
ARG LATER=1
FROM alpine AS b
ARG LATER
# other comment
run make   all
FROM scratch
COPY --from=a / /
COPY --from=b / /
