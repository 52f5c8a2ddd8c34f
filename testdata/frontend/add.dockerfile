# spec 75, 76, 77
FROM alpine
ADD a.tar.gz b /x/
ADD --unpack=false a.tar /x/
ADD https://example.com/dir/file.tar.gz?x=1 /x/
ADD --unpack --chmod=644 https://example.com/file.tar /x/
ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.com/ /x
ADD https://github.com/a/b.git#v1:dir /src
ADD --keep-git-dir=true --checksum=abc https://example.com/a/b /src
ADD git@example.com:a/b.git /src
ADD --link <<F https://example.com/c /
x
F
