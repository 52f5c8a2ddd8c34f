#! --platform=linux/arm64/v8 --label=a=request --label=b=2
# spec 47, 108
FROM scratch
LABEL a=file "quoted key"="x y" \
      multi=line
COPY app /
