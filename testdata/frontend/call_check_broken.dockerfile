#! --call=check
FROM scratch As BadName
MAINTAINER me
RUN a \

 b
BADCMD
MAINTAINER who comes too late
