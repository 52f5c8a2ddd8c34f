#! --build-arg=BUILDKIT_CACHE_MOUNT_NS=ns
# spec 86, 87, 89, 90, 91, 100
FROM alpine
ARG D=dir T=tok
WORKDIR /w
RUN --mount=target=/ctx --mount=type=bind,source=$D/a,target=rel,rw a
RUN --mount=type=cache,target=/c/../cache b
RUN --mount=type=cache,id=i,target=$D,sharing=locked,from=busybox,source=seed,mode=0700,uid=1,gid=2 c
RUN --mount=type=tmpfs,target=/t,size=1m d
RUN --mount=type=secret,id=s1 --mount=type=secret,id=s2,required,target=/s,mode=0444 --mount=type=secret,id=$T,env=TOKEN e $TOKEN
RUN --mount=type=ssh --mount=type=ssh,id=other,required,target=/sock f
RUN --mount=type=secret,target=/etc/x/key --mount=type=secret,src=a/b g
