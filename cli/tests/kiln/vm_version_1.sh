# Runs in the small machine of vm.rs; prints what control groups do there as version 1, and as version 1 beside version 2.
groups=/sys/fs/cgroup
umount $groups
mount -t tmpfs -o mode=755 cgroup $groups
for name in cpu,cpuacct cpuset devices pids freezer memory; do
    mkdir $groups/$name
    mount -t cgroup -o $name cgroup $groups/$name
done
quietly kiln import /busybox.tar busybox
mkdir -p /root/memory /root/plain
printf 'FROM busybox\nRUN --network=none dd if=/dev/zero of=/dev/null bs=64M count=1\n' > /root/memory/Dockerfile
printf 'FROM busybox\nRUN --network=none ls /sys/fs/cgroup > /seen\n' > /root/plain/Dockerfile

check() {
    before=$(find $groups -type d | lines)
    kiln build --progress plain --memory 16m --memory-swap 16m /root/memory > /tmp/log 2>&1
    echo "$1 memory: $? $(sed -n 's/^ERROR:.*successfully: //p' /tmp/log)"
    run="kiln run --rm --network none"
    $run --pids-limit 4 busybox sh -c 'for i in 1 2 3 4 5 6; do sleep 100 & done; echo not reached' > /tmp/log 2>&1
    echo "$1 processes: $(sed 's/.*sh: //' /tmp/log)"
    echo "$1 both: $($run --memory 32m --pids-limit 9 busybox sh -c 'cd /sys/fs/cgroup; echo *; cat */pids.max; cat */memory.limit_in_bytes */memory.max 2> /dev/null' 2>&1 | tr '\n' ' ')"
    echo "$1 members: $($run --memory 32m --cpus 0.5 busybox cat /proc/self/cgroup 2>&1 | sed 's/^[0-9]*://' | sort | tr '\n' ' ')"
    quietly kiln build --no-cache --progress plain -t plain /root/plain
    echo "$1 a step sees: $($run plain cat /seen 2>&1 | tr '\n' ' ')"
    echo "$1 left: $(($(find $groups -type d | lines) - before))"
}
check alone
# With nobody in it, a hierarchy goes, and its controller is version 2's again.
umount $groups/memory && rmdir $groups/memory
mkdir $groups/unified
mount -t cgroup2 cgroup $groups/unified
until grep -q memory $groups/unified/cgroup.controllers; do sleep 1; done
check hybrid
