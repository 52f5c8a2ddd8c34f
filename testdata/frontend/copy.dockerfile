# spec 11, 55, 56, 57, 58, 59, 66, 69
FROM alpine
USER 7
WORKDIR /w
COPY d /x
COPY x* y? /f
COPY ../a /b ./
COPY a --chmod=600 /x
COPY arr[[]0].txt .
COPY --chown=5 a b/
COPY --chmod=u=rwX,go=rX --chown=app:app a /q/r/
COPY ["with space", "/the end/"]
COPY . /
