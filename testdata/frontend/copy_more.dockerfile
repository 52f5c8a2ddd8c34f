# spec 71, 72, 113: parents, excluded files, links.
FROM alpine
COPY --parents a d/sub/z /o/
COPY --parents ./d/./sub/z **/*.txt /o/
COPY --exclude=*.txt --exclude=!keep.txt d /o/
COPY --link a /tmp/x/
COPY --link --chmod=600 a /tmp/y/
COPY --link=false a /tmp/z/
