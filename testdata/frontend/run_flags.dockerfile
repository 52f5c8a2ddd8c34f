#! --network=none --add-host=db=10.0.0.1 --build-arg=HTTP_PROXY=http://p --build-arg=BUILDKIT_SANDBOX_HOSTNAME=box
# spec 28, 92, 94: flags, and what the request adds to every command.
FROM alpine
RUN plain
RUN --network=default same
RUN --network=host --security=insecure more
RUN --device=vendor.com/class=name,required x
