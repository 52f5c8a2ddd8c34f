#! --call=check
FROM scratch AS BadName
BADCMD
ENV ALONE
