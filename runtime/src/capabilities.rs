//! Sets of capabilities (capabilities(7)), by number and by name.

use std::fmt;

use rustix::thread::CapabilitySet;

/// The names by number, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capabilities(u64);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);
    /// All that there are, those of newer kernels included.
    pub const ALL: Self = Self(u64::MAX);
    /// The fourteen that Docker and BuildKit leave to root: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
    /// NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE and SETFCAP.
    pub const DOCKER: Self = Self(0xa804_25fb);

    /// Returns the set of one capability by its name, with or without `CAP_` and in any case; `ALL` is all. `None` is a name that there is not.
    pub fn from_name(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            return Some(Self::ALL);
        }
        NAMES.iter().position(|known| *known == bare).map(|number| Self(1 << number))
    }

    /// Returns the capabilities that are in either.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the capabilities that are in `self` and not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the capabilities that are in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether all of `other` are in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the mask as `/proc/self/status` shows it.
    pub const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_set(set: CapabilitySet) -> Self {
        Self(set.bits())
    }

    pub(crate) fn as_set(self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.0)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |number: &usize| self.0 & (1 << number) != 0;
        f.debug_list().entries((0..NAMES.len()).filter(named).map(|number| NAMES[number])).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<u64>) {
        assert_eq!(Capabilities::from_name(name).map(Capabilities::bits), expected);
    }

    #[test]
    fn names_are_accepted_as_docker_writes_them() {
        check("CAP_CHOWN", Some(1));
        check("chown", Some(1));
        check("cap_checkpoint_restore", Some(1 << 40));
        check("ALL", Some(u64::MAX));
        check("CAP_NOPE", None);
        check("", None);
    }

    #[test]
    fn dockers_set_is_the_fourteen_of_its_documentation() {
        let names = [
            "AUDIT_WRITE",
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "MKNOD",
            "NET_BIND_SERVICE",
            "NET_RAW",
            "SETFCAP",
            "SETGID",
            "SETPCAP",
            "SETUID",
            "SYS_CHROOT",
        ];
        let set =
            names.iter().filter_map(|name| Capabilities::from_name(name)).fold(Capabilities::NONE, Capabilities::with);
        assert_eq!(set, Capabilities::DOCKER);
    }
}
