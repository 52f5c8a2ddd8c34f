# Runs in the small machine of vm.rs; prints what was found.
uname -r
echo "cgroups: $(stat -f -c %T /sys/fs/cgroup | sed 's/UNKNOWN/cgroup2/;s/cgroup2fs/cgroup2/')"
echo "layers: $(kiln info | sed -n 's/^Layers: //p')"
mounts=$(lines < /proc/mounts)
cgroups=$(find /sys/fs/cgroup -type d | lines)

quietly kiln import /busybox.tar busybox
mkdir -p /root/chain /root/stages /root/secret

# A long chain: each step has one layer more below it.
{
    echo 'FROM busybox'
    for n in $(seq 50); do echo "RUN --network=none echo $n > /f$n"; done
} > /root/chain/Dockerfile
quietly kiln build --progress plain -t chain /root/chain
echo "chain: ran"
quietly kiln build --progress plain -t chain /root/chain
# FROM is one of them.
echo "chain again: $(grep -c ' CACHED' /tmp/log) cached"

kiln run --rm --network none chain sh -c 'exit $(ls -d /f1 /f2 /f10 /f20 /f30 /f40 /f50 | wc -l)' > /tmp/log 2>&1
echo "run: $?"
echo "stdin: $(echo from outside | kiln run --rm -i --network none busybox cat 2>&1)"

cat > /root/stages/Dockerfile <<'END'
FROM busybox AS first
COPY text /text
RUN --network=none --mount=type=cache,target=/cache echo x >> /cache/count
FROM busybox
COPY --from=first /text /copied
RUN --network=none --mount=type=cache,target=/cache echo x >> /cache/count; wc -l < /cache/count > /count
COPY --from=first /text /after
END
# The second stage waits for the first by its COPY, so that the mount is counted in order.
echo 'from the first stage' > /root/stages/text
quietly kiln build --progress plain -t stages /root/stages
echo "copy: $(kiln run --rm --network none stages cat /copied 2>&1)"
echo "cache mount: $(kiln run --rm --network none stages cat /count 2>&1)"

cat > /root/secret/Dockerfile <<'END'
FROM busybox
RUN --network=none --mount=type=secret,id=word cat /run/secrets/word > /dev/null && wc -c < /run/secrets/word > /length
END
printf hidden > /tmp/word
quietly kiln build --progress plain --secret id=word,src=/tmp/word -t secret /root/secret
echo "secret: $([ "$(kiln run --rm --network none secret cat /length 2>&1)" = 6 ] && echo hidden)"
echo "secret in layer: $(kiln run --rm --network none secret ls /run/secrets/word > /tmp/log 2>&1 && echo yes || echo no)"

for rung in loop trees; do
    echo "layers by $rung: $(KILN_LAYERS=$rung kiln run --rm --network none stages cat /copied 2>&1 | head -n 1)"
done
mkdir -p /root/memory /root/devices
printf 'FROM busybox\nRUN --network=none dd if=/dev/zero of=/dev/null bs=64M count=1\n' > /root/memory/Dockerfile
kiln build --progress plain --memory 16m --memory-swap 16m /root/memory > /tmp/log 2>&1
echo "memory limit: $? $(sed -n 's/^ERROR:.*successfully: //p' /tmp/log)"
limited="kiln run --rm --network none"
$limited --pids-limit 4 busybox sh -c 'for i in 1 2 3 4 5 6; do sleep 100 & done; echo not reached' > /tmp/log 2>&1
echo "process limit: $(sed 's/.*sh: //' /tmp/log)"
echo "own limit: $($limited --memory 32m busybox cat /sys/fs/cgroup/memory.max 2>&1)"
printf 'FROM busybox\nRUN --network=none mknod /null c 1 3 && echo x > /null && mknod /disk b 254 0 && ! cat /disk\n' > /root/devices/Dockerfile
quietly kiln build --progress plain -t devices /root/devices
echo "devices: common ones only"
mkdir -p /root/network
echo 'from the machine' > /root/network/served
httpd -p 80 -h /root/network
printf 'FROM busybox\nRUN printf "GET /served HTTP/1.0\\r\\n\\r\\n" | nc -w 5 10.87.0.1 80 | tail -n 1 > /found; ip -o link show eth0\n' > /root/network/Dockerfile
quietly kiln build --progress plain -t network /root/network
echo "network of a step: $(kiln run --rm network cat /found 2>&1)"

echo "left links: $(ls /sys/class/net | grep -c kiln)"
echo "left mounts: $(($(lines < /proc/mounts) - mounts))"
echo "left cgroups: $(($(find /sys/fs/cgroup -type d | lines) - cgroups))"
echo "left processes: $(ps -o comm | grep -c '^kiln')"
