#! --target=bulid
# spec 35
FROM alpine AS build
