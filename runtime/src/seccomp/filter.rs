//! A filter, ready for the kernel.

use libc::sock_filter;

use super::assembler::assemble;
use super::profile::Profile;
use super::rules::{Target, resolve};

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
const INSTRUCTIONS_MAX: usize = 4096;

/// A filter, ready for the kernel.
#[derive(Clone)]
pub struct Filter {
    instructions: Vec<sock_filter>,
}

/// Why a profile makes no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The filter is longer than the kernel allows.
    #[error("the seccomp profile is too large: it makes {count} instructions, and the kernel takes {INSTRUCTIONS_MAX}")]
    TooLong {
        /// How many instructions it makes.
        count: usize,
    },
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} instructions)", self.instructions.len())
    }
}

impl Filter {
    /// Makes a filter; this takes some hundredths of a millisecond, so who needs it again keeps it.
    pub fn new(profile: &Profile, target: &Target) -> Result<Self, FilterError> {
        let interfaces =
            target.architecture.interfaces().map(|interface| (interface, resolve(profile, target, interface)));
        let instructions = assemble(&interfaces);
        if instructions.len() > INSTRUCTIONS_MAX {
            return Err(FilterError::TooLong { count: instructions.len() });
        }
        Ok(Self { instructions })
    }

    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.instructions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::Capabilities;
    use crate::seccomp::Architecture;
    use crate::seccomp::numbers::number;

    const KERNEL: (u32, u32) = (6, 1);
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    /// Runs a filter as the kernel does, and returns what becomes of a call.
    fn run(filter: &Filter, audit: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut data = [number, audit, 0, 0].to_vec();
        data.extend(args.iter().flat_map(|arg| [*arg as u32, (*arg >> 32) as u32]));
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = filter.instructions[at];
            at += 1;
            let holds = match code {
                0x20 => {
                    accumulator = data[k as usize / 4];
                    continue;
                }
                0x54 => {
                    accumulator &= k;
                    continue;
                }
                0x05 => {
                    at += k as usize;
                    continue;
                }
                0x06 => return k,
                0x15 => accumulator == k,
                0x25 => accumulator > k,
                0x35 => accumulator >= k,
                code => panic!("instruction {code:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    fn describe(result: u32) -> String {
        match result & 0xffff_0000 {
            ALLOW => "allow".to_owned(),
            libc::SECCOMP_RET_ERRNO => rustix::io::Errno::from_raw_os_error((result & 0xffff) as i32).to_string(),
            other => format!("{other:#x}"),
        }
    }

    fn docker(architecture: Architecture, capabilities: Capabilities) -> Filter {
        Filter::new(&Profile::docker(), &Target { architecture, kernel: KERNEL, capabilities }).unwrap()
    }

    fn with(capability: &str) -> Capabilities {
        Capabilities::DOCKER.with(Capabilities::from_name(capability).unwrap())
    }

    /// Checks what becomes of a call by a name, on x86-64.
    #[track_caller]
    fn check(capabilities: Capabilities, call: &str, args: &[u64], expected: &str) {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let filter = docker(Architecture::X86_64, capabilities);
        let result = run(&filter, 0xc000_003e, number(call, 0).unwrap(), all);
        assert_eq!(describe(result), expected, "{call}({args:x?})");
    }

    const REFUSED: &str = "Operation not permitted (os error 1)";
    const MISSING: &str = "Function not implemented (os error 38)";

    #[test]
    fn dockers_list_decides() {
        let docker = Capabilities::DOCKER;
        for call in ["read", "openat", "execve", "mseal", "io_setup", "landlock_create_ruleset", "ptrace", "chroot"] {
            check(docker, call, &[], "allow");
        }
        for call in
            ["mount", "keyctl", "add_key", "bpf", "kexec_load", "init_module", "userfaultfd", "io_uring_setup", "setns"]
        {
            check(docker, call, &[], REFUSED);
        }
        check(docker, "clone3", &[], MISSING);
        check(docker, "open_tree_attr", &[], MISSING);
    }

    #[test]
    fn arguments_decide() {
        let docker = Capabilities::DOCKER;
        check(docker, "clone", &[0x0001_1100], "allow");
        check(docker, "clone", &[0x1000_0000], REFUSED);
        check(docker, "clone", &[0x0002_0000 | 17], REFUSED);
        for (family, expected) in
            [(2, "allow"), (37, "allow"), (38, REFUSED), (39, "allow"), (40, REFUSED), (41, "allow")]
        {
            check(docker, "socket", &[family], expected);
        }
        check(docker, "socket", &[1 << 32 | 38], "allow");
        for (persona, expected) in
            [(0, "allow"), (8, "allow"), (0x20008, "allow"), (0xffff_ffff, "allow"), (1, REFUSED)]
        {
            check(docker, "personality", &[persona], expected);
        }
        check(docker, "personality", &[0xffff_ffff_ffff_ffff], REFUSED);
    }

    #[test]
    fn capabilities_decide() {
        check(with("SYS_ADMIN"), "mount", &[], "allow");
        check(with("SYS_ADMIN"), "clone", &[0x1000_0000], "allow");
        check(with("SYS_ADMIN"), "clone3", &[], "allow");
        check(with("SYS_TIME"), "clock_settime", &[], "allow");
        check(Capabilities::NONE, "chroot", &[], REFUSED);
    }

    #[test]
    fn programs_of_the_predecessor_have_the_same_calls() {
        let docker32 = |architecture, audit, column: usize, call| {
            let filter = docker(architecture, Capabilities::DOCKER);
            describe(run(&filter, audit, number(call, column).unwrap(), [0; 6]))
        };
        let i386 = |call| docker32(Architecture::X86_64, 0x4000_0003, 1, call);
        assert_eq!([i386("read"), i386("mmap2"), i386("mount"), i386("clone3")], ["allow", "allow", REFUSED, MISSING]);
        let arm = |call| docker32(Architecture::Aarch64, 0x4000_0028, 3, call);
        assert_eq!([arm("read"), arm("set_tls"), arm("mount"), arm("clone3")], ["allow", "allow", REFUSED, MISSING]);
        let arm64 = |call| docker32(Architecture::Aarch64, 0xc000_00b7, 2, call);
        assert_eq!([arm64("read"), arm64("openat"), arm64("mount")], ["allow", "allow", REFUSED]);
    }

    #[test]
    fn x32_and_strange_interfaces_do_not_exist() {
        let filter = docker(Architecture::X86_64, Capabilities::DOCKER);
        assert_eq!(describe(run(&filter, 0xc000_003e, 0x4000_0000, [0; 6])), MISSING);
        assert_eq!(describe(run(&filter, 0xc000_003e, 0x4000_0000 + 520, [0; 6])), MISSING);
        assert_eq!(describe(run(&filter, 0xc000_00b7, 0, [0; 6])), MISSING);
    }

    /// Every comparison, on both sides of every border, also of the two halves.
    #[test]
    fn comparisons_are_of_all_64_bits() {
        let border = 0x0000_0005_0000_0007_u64;
        let around = [0, 7, 5 << 32, border - 1, border, border + 1, border - (1 << 32), border + (1 << 32), u64::MAX];
        type Comparison = fn(u64, u64) -> bool;
        let cases: [(&str, Comparison); 6] = [
            ("NE", |arg, value| arg != value),
            ("LT", |arg, value| arg < value),
            ("LE", |arg, value| arg <= value),
            ("EQ", |arg, value| arg == value),
            ("GE", |arg, value| arg >= value),
            ("GT", |arg, value| arg > value),
        ];
        for (name, expected) in cases {
            let json = format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                    "args": [{{"index": 2, "value": {border}, "op": "SCMP_CMP_{name}"}}, {{"index": 5, "value": 1, "op": "SCMP_CMP_EQ"}}]}}]}}"#
            );
            let target =
                Target { architecture: Architecture::X86_64, kernel: KERNEL, capabilities: Capabilities::NONE };
            let filter = Filter::new(&Profile::parse(&json).unwrap(), &target).unwrap();
            for arg in around {
                for other in [0, 1] {
                    let allowed = run(&filter, 0xc000_003e, 0, [0, 0, arg, 0, 0, other]) == ALLOW;
                    assert_eq!(allowed, expected(arg, border) && other == 1, "{arg:#x} {name} {border:#x}, {other}");
                }
            }
        }
    }

    /// All that a newer version of the list may name is in the table, for some architecture or other.
    #[test]
    fn the_table_has_all_names_of_the_list() {
        let foreign = ["riscv_", "s390_", "swapcontext"];
        let profile = Profile::docker();
        let names = profile.syscalls.iter().flat_map(|group| &group.names);
        let missing: Vec<_> = names
            .filter(|name| (0..4).all(|column| number(name, column).is_none()))
            .filter(|name| !foreign.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        assert_eq!(missing, Vec::<&String>::new());
    }

    #[test]
    fn the_filter_is_short() {
        let length = docker(Architecture::X86_64, Capabilities::DOCKER).instructions.len();
        assert!(length < 500, "{length} instructions");
    }
}
