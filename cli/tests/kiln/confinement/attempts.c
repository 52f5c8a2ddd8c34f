// Tries, as root in a step, what a step must not be able to do; prints what it could do, and how much it could not.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define OUTSIDE 4000000

static int refused;

static void attempt(const char *what, long result) {
    if (result < 0)
        refused++;
    else
        printf("could: %s\n", what);
}

static long open_node(const char *path, mode_t type, unsigned major, unsigned minor) {
    if (mknod(path, type | 0600, makedev(major, minor)) != 0) return -1;
    long opened = open(path, O_RDWR);
    int error = errno;
    unlink(path);
    errno = error;
    return opened;
}

static long write_to(const char *path) {
    int file = open(path, O_WRONLY);
    return file < 0 ? -1 : write(file, "1", 1);
}

int main(void) {
    attempt("mount a file system", mount("none", "/mnt", "tmpfs", 0, NULL));
    attempt("bind a directory", mount("/etc", "/mnt", NULL, MS_BIND, NULL));
    attempt("remount the root", mount(NULL, "/", NULL, MS_REMOUNT, NULL));
    attempt("unmount what masks", umount2("/proc/kcore", MNT_DETACH));
    attempt("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    attempt("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    attempt("pivot_root", syscall(SYS_pivot_root, "/", "/"));
    attempt("user namespace by unshare", unshare(CLONE_NEWUSER));
    attempt("user namespace by clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    attempt("user namespace by clone3", syscall(SYS_clone3, NULL, 0));
    attempt("mount namespace", unshare(CLONE_NEWNS));
    attempt("another's namespace", syscall(SYS_setns, open("/proc/1/ns/mnt", O_RDONLY), 0));
    // A process that is surely not in here; its number may be one of the machine's.
    attempt("trace a process outside", ptrace(PTRACE_ATTACH, OUTSIDE, 0, 0));
    char byte;
    struct iovec there = {&byte, 1};
    attempt("read a process outside", process_vm_readv(OUTSIDE, &there, 1, &there, 1, 0));
    attempt("signal a process outside", kill(OUTSIDE, 0));
    attempt("a key of the kernel", syscall(SYS_keyctl, 0, -3, 0));
    attempt("add a key", syscall(SYS_add_key, "user", "k", "v", 1, -3));
    attempt("load a module", syscall(SYS_init_module, "", 0, ""));
    attempt("load a module by file", syscall(SYS_finit_module, 0, "", 0));
    attempt("load another kernel", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    attempt("restart the machine", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
    attempt("set the clock", syscall(SYS_settimeofday, &(long[2]){0, 0}, NULL));
    attempt("turn swapping off", syscall(SYS_swapoff, "/nothing"));
    attempt("a program for the kernel", syscall(SYS_bpf, 0, NULL, 0));
    attempt("count events", syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
    attempt("faults of memory", syscall(SYS_userfaultfd, 0));
    attempt("io_uring", syscall(SYS_io_uring_setup, 1, NULL));
    attempt("open by handle", syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
    attempt("read the kernel's log", syscall(SYS_syslog, 3, NULL, 0));
    // Docker allows these too; they are those of the step's own network.
    attempt("raw packets of links", socket(AF_PACKET, SOCK_RAW, 0));
    attempt("virtual sockets to the host", socket(40, SOCK_STREAM, 0));
    attempt("memory of the machine", open_node("/mem", S_IFCHR, 1, 1));
    attempt("ports of the machine", open_node("/port", S_IFCHR, 1, 4));
    attempt("disk of the machine", open_node("/disk", S_IFBLK, 254, 0));
    attempt("another disk", open_node("/sda", S_IFBLK, 8, 0));
    attempt("tun", open_node("/tun", S_IFCHR, 10, 200));
    attempt("fuse", open_node("/fuse", S_IFCHR, 10, 229));
    attempt("a setting of the kernel", write_to("/proc/sys/kernel/core_pattern"));
    attempt("a setting of the network", write_to("/proc/sys/net/ipv4/ip_forward"));
    attempt("a request to the kernel", write_to("/proc/sysrq-trigger"));
    attempt("helper of hotplug", write_to("/sys/kernel/uevent_helper"));
    attempt("a control group", mkdir("/sys/fs/cgroup/mine", 0755));
    attempt("more priority", syscall(SYS_setpriority, 0, 0, -10));
    attempt("higher limits", syscall(SYS_prlimit64, 0, 7, &(long[2]){1 << 30, 1 << 30}, NULL));
    attempt("a name for the machine", sethostname("x", 1));
    printf("refused: %d\n", refused);
    return 0;
}
