//! How much the processes of a sandbox may use together, and what that is in control files.

use super::hierarchies::Controller;

/// The least memory that a limit may leave, as Docker has it.
pub const MEMORY_BYTES_MIN: u64 = 6 << 20;
/// The kernel's period for processor time, and Docker's.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;

/// How much the processes of a sandbox may use together. `None` is as much as there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, in bytes; [`u64::MAX`] is no limit. With a limit of memory alone, it is twice that, as with Docker.
    pub memory_and_swap_bytes: Option<u64>,
    /// Processor time in each period, in microseconds.
    pub cpu_quota_microseconds: Option<u64>,
    /// The period, in microseconds: 100,000 if nothing is said.
    pub cpu_period_microseconds: Option<u64>,
    /// The weight against other groups, from 2 to 262,144; all have 1,024 if nothing is said.
    pub cpu_shares: Option<u64>,
    /// The processors that may be used: `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// The content of a control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: Controller,
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether a kernel without the file (one that does not count swap) limits what matters all the same.
    pub(super) is_optional: bool,
}

impl Setting {
    fn new(controller: Controller, file: &'static str, value: impl ToString) -> Self {
        Self { controller, file, value: value.to_string(), is_optional: false }
    }
}

impl Limits {
    /// Returns whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn memory_and_swap(&self) -> Option<u64> {
        self.memory_and_swap_bytes.or_else(|| self.memory_bytes.map(|bytes| bytes.saturating_mul(2)))
    }

    /// Returns what is written where in version 1, in an order in which the kernel takes it.
    pub(super) fn v1(&self) -> Vec<Setting> {
        use Controller::{Cpu, Memory, Pids};
        let mut settings = Vec::new();
        if let Some(bytes) = self.memory_bytes {
            settings.push(Setting::new(Memory, "memory.limit_in_bytes", bytes));
        }
        if let Some(bytes) = self.memory_and_swap() {
            let value = if bytes == u64::MAX { "-1".to_owned() } else { bytes.to_string() };
            let setting = Setting::new(Memory, "memory.memsw.limit_in_bytes", value);
            settings.push(Setting { is_optional: true, ..setting });
        }
        if let Some(period) = self.cpu_period_microseconds {
            settings.push(Setting::new(Cpu, "cpu.cfs_period_us", period));
        }
        if let Some(quota) = self.cpu_quota_microseconds {
            settings.push(Setting::new(Cpu, "cpu.cfs_quota_us", quota));
        }
        if let Some(shares) = self.cpu_shares {
            settings.push(Setting::new(Cpu, "cpu.shares", shares));
        }
        settings.extend(self.cpuset());
        settings.extend(self.pids.map(|pids| Setting::new(Pids, "pids.max", pids)));
        settings
    }

    /// The same in version 2.
    pub(super) fn v2(&self) -> Vec<Setting> {
        use Controller::{Cpu, Memory, Pids};
        let mut settings = Vec::new();
        if let Some(bytes) = self.memory_bytes {
            settings.push(Setting::new(Memory, "memory.max", bytes));
        }
        if let Some(bytes) = self.memory_and_swap() {
            // There, swap is limited by itself.
            let swap = bytes.saturating_sub(self.memory_bytes.unwrap_or_default());
            let value = if bytes == u64::MAX { "max".to_owned() } else { swap.to_string() };
            settings.push(Setting { is_optional: true, ..Setting::new(Memory, "memory.swap.max", value) });
        }
        if self.cpu_quota_microseconds.is_some() || self.cpu_period_microseconds.is_some() {
            let quota = self.cpu_quota_microseconds.map_or("max".to_owned(), |quota| quota.to_string());
            let period = self.cpu_period_microseconds.unwrap_or(CPU_PERIOD_MICROSECONDS);
            settings.push(Setting::new(Cpu, "cpu.max", format!("{quota} {period}")));
        }
        if let Some(shares) = self.cpu_shares {
            settings.push(Setting::new(Cpu, "cpu.weight", weight(shares)));
        }
        settings.extend(self.cpuset());
        settings.extend(self.pids.map(|pids| Setting::new(Pids, "pids.max", pids)));
        settings
    }

    fn cpuset(&self) -> impl Iterator<Item = Setting> {
        let cpus = self.cpuset_cpus.as_ref().map(|cpus| Setting::new(Controller::Cpuset, "cpuset.cpus", cpus));
        let mems = self.cpuset_mems.as_ref().map(|mems| Setting::new(Controller::Cpuset, "cpuset.mems", mems));
        cpus.into_iter().chain(mems)
    }
}

/// Returns the weight of version 2, from 1 to 10,000, for the shares of version 1, from 2 to 262,144: on a straight line, as runc and crun have it.
fn weight(shares: u64) -> u64 {
    const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
    let shares = shares.clamp(*SHARES.start(), *SHARES.end());
    1 + (shares - SHARES.start()) * 9_999 / (SHARES.end() - SHARES.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limits: &Limits, v1: &[&str], v2: &[&str]) {
        let shown = |settings: Vec<Setting>| -> Vec<String> {
            settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
        };
        assert_eq!(shown(limits.v1()), v1);
        assert_eq!(shown(limits.v2()), v2);
    }

    #[test]
    fn swap_is_as_much_as_memory_if_nothing_is_said() {
        let limits = Limits { memory_bytes: Some(64), ..Limits::default() };
        check(
            &limits,
            &["memory.limit_in_bytes=64", "memory.memsw.limit_in_bytes=128"],
            &["memory.max=64", "memory.swap.max=64"],
        );
        let unlimited = Limits { memory_and_swap_bytes: Some(u64::MAX), ..limits };
        check(
            &unlimited,
            &["memory.limit_in_bytes=64", "memory.memsw.limit_in_bytes=-1"],
            &["memory.max=64", "memory.swap.max=max"],
        );
    }

    #[test]
    fn the_rest_has_two_spellings() {
        let limits = Limits {
            cpu_quota_microseconds: Some(50_000),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0-1".into()),
            pids: Some(9),
            ..Limits::default()
        };
        check(
            &limits,
            &["cpu.cfs_quota_us=50000", "cpu.shares=1024", "cpuset.cpus=0-1", "pids.max=9"],
            &["cpu.max=50000 100000", "cpu.weight=39", "cpuset.cpus=0-1", "pids.max=9"],
        );
        check(&Limits::default(), &[], &[]);
        assert_eq!((weight(0), weight(262_144)), (1, 10_000));
    }
}
