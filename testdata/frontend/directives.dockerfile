# syntax=docker/dockerfile:1
# escape=`
# check=skip=all
FROM alpine as X
ENV A=c:\x` 
    B=2
