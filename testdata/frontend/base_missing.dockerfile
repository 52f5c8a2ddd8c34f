# spec 112
FROM alpin:3 AS x
FROM nope-image-x
COPY --from=x / /
