# Runs in the small machine of vm.rs; prints what becomes of programs for arm64 there.
mkdir -p /root/foreign
cp /foreign/busybox /root/foreign/busybox
cat > /root/foreign/Dockerfile <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ARG TARGETARCH
RUN --network=none echo "$(uname -m) $TARGETARCH $(id -u)" > /found && chmod 600 /found
END
build="kiln build --progress plain --platform linux/arm64 -t foreign /root/foreign"
told() { grep -e '^ERROR' -e '^hint' /tmp/log | sed 's/.*successfully: //'; }
register() {
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    echo ":qemu-aarch64:M::$magic:$mask:/foreign/qemu:$1" > /proc/sys/fs/binfmt_misc/register
}

$build > /tmp/log 2>&1
echo "none: $?"
told

mount -t binfmt_misc binfmt /proc/sys/fs/binfmt_misc
# Without `F` the kernel looks for the emulator where the program runs, which does not have it.
register ''
$build > /tmp/log 2>&1
echo "not fixed: $?"
told
echo -1 > /proc/sys/fs/binfmt_misc/qemu-aarch64

register F
quietly $build
echo "fixed: built"
echo "in a container: $(kiln run --rm --network none foreign cat /found 2>&1)"
echo "platform: $(kiln inspect -f '{{.Os}}/{{.Architecture}}' foreign 2>&1)"
