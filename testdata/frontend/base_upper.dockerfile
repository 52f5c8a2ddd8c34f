# spec 33
FROM alpine AS base
FROM Base
