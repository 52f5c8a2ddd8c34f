#! --build-arg=SOURCE_DATE_EPOCH=context --context=https://example.com/a.git --show=needs
FROM scratch
COPY a /
