# spec 87, 88
FROM alpine
RUN --mount=type=bind,target=/ a
RUN --mount=source=a a
RUN --mount=type=bnd,target=/a a
RUN --mount=type=bind,sharing=locked,target=/a a
RUN --mount=mode=0755,target=/a a
RUN --mount=targt=/a a
RUN --mount=foo a
RUN --mount=type=cache,target=/a,mode=9 a
RUN --mount=type=secret a
RUN --mount=type=ssh,source=a a
