# A build in two stages, as people write them.
ARG VERSION=3.20
FROM alpine:${VERSION} AS build
ARG TARGETARCH
ENV HOME=/root CGO_ENABLED=0
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/root/.cache go mod download
COPY . .
RUN --mount=type=bind,source=assets,target=/assets \
    go build -o /out/app ./cmd/app && echo ${TARGETARCH} "$HOME"

FROM scratch
LABEL org.opencontainers.image.title="app"
COPY --from=build --chown=65532:65532 /out/app /app
COPY --link --from=build /etc/ssl/certs/ /etc/ssl/certs/
USER 65532
EXPOSE 8080
ENTRYPOINT ["/app"]
CMD ["serve"]
