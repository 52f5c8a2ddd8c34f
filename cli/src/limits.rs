//! From the limits of the command line to those of the engine, with Docker's rules and words.

use anyhow::{anyhow, bail};
use engine::build::{Limits, MEMORY_BYTES_MIN, Ulimit};

use crate::args::LimitArgs;
use crate::parse::size_bytes;

/// The period that a number of processors is told in, in microseconds.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;
/// The least share of a processor that the kernel takes, in microseconds.
const CPU_QUOTA_MICROSECONDS_MIN: u64 = 1_000;

/// Parses and checks what steps or a container may use.
pub(crate) fn parse(args: &LimitArgs) -> anyhow::Result<Limits> {
    let (memory_bytes, memory_and_swap_bytes) = memory(args)?;
    let (cpu_quota_microseconds, cpu_period_microseconds) = processors(args)?;
    Ok(Limits {
        shm_bytes: args.shm_size.as_deref().map(size_bytes).transpose()?,
        ulimits: ulimits(&args.ulimit)?,
        cgroup_parent: args.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        memory_bytes,
        memory_and_swap_bytes,
        cpu_quota_microseconds,
        cpu_period_microseconds,
        cpu_shares: args.cpu_shares.filter(|shares| *shares != 0),
        cpuset_cpus: args.cpuset_cpus.clone().filter(|list| !list.is_empty()),
        cpuset_mems: args.cpuset_mems.clone().filter(|list| !list.is_empty()),
        // 0 and negative numbers are no limit.
        pids: args.pids_limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit != 0),
    })
}

fn memory(args: &LimitArgs) -> anyhow::Result<(Option<u64>, Option<u64>)> {
    let memory = args.memory.as_deref().map(size_bytes).transpose()?.filter(|bytes| *bytes != 0);
    let swap = match args.memory_swap.as_deref() {
        Some("-1") => Some(u64::MAX),
        Some(text) => Some(size_bytes(text)?).filter(|bytes| *bytes != 0),
        None => None,
    };
    if memory.is_some_and(|bytes| bytes < MEMORY_BYTES_MIN) {
        bail!("Minimum memory limit allowed is 6MB");
    }
    match (memory, swap) {
        (None, Some(bytes)) if bytes != u64::MAX => {
            bail!("You should always set the Memory limit when using Memoryswap limit, see usage")
        }
        (Some(memory), Some(swap)) if swap < memory => {
            bail!("Minimum memoryswap limit should be larger than memory limit, see usage")
        }
        _ => Ok((memory, swap)),
    }
}

/// Returns the quota and the period.
fn processors(args: &LimitArgs) -> anyhow::Result<(Option<u64>, Option<u64>)> {
    let Some(text) = args.cpus.as_deref() else { return Ok((args.cpu_quota, args.cpu_period)) };
    let number: f64 = text.parse().map_err(|_| anyhow!("failed to parse {text} as a rational number"))?;
    if !number.is_finite() || number < 0.0 {
        bail!("invalid number of processors: {text}");
    }
    if args.cpu_quota.is_some() || args.cpu_period.is_some() {
        bail!("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    let quota = (number * CPU_PERIOD_MICROSECONDS as f64) as u64;
    match quota {
        0 => Ok((None, None)),
        quota if quota < CPU_QUOTA_MICROSECONDS_MIN => bail!("range of CPUs is from 0.01 on, as {text} is too little"),
        quota => Ok((Some(quota), None)),
    }
}

/// Parses `name=soft[:hard]`; -1 is unlimited.
fn ulimits(texts: &[String]) -> anyhow::Result<Vec<Ulimit>> {
    let limit = |text: &String| {
        let wrong = || anyhow!("invalid ulimit argument: {text}");
        let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(None),
            text => text.parse::<u64>().map(Some).map_err(|_| wrong()),
        };
        Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
    };
    texts.iter().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(args: LimitArgs, expected: &str) {
        assert_eq!(parse(&args).unwrap_err().to_string(), expected);
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn limits_have_a_soft_and_a_hard_value() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let limits = parse(&LimitArgs { ulimit: words(&["nofile=1:2", "core=-1"]), ..LimitArgs::default() }).unwrap();
        assert_eq!((limits.ulimits[0].soft, limits.ulimits[0].hard), (Some(1), Some(2)));
        assert_eq!((limits.ulimits[1].soft, limits.ulimits[1].hard), (None, None));
        refused(LimitArgs { ulimit: words(&["nofile"]), ..LimitArgs::default() }, "invalid ulimit argument: nofile");
    }

    #[test]
    fn memory_has_dockers_rules() {
        let args = |memory: &str, swap: Option<&str>| LimitArgs {
            memory: some(memory),
            memory_swap: swap.map(str::to_owned),
            ..LimitArgs::default()
        };
        let limits = parse(&args("64m", Some("-1"))).unwrap();
        assert_eq!((limits.memory_bytes, limits.memory_and_swap_bytes), (Some(64 << 20), Some(u64::MAX)));
        refused(args("1m", None), "Minimum memory limit allowed is 6MB");
        refused(args("64m", Some("32m")), "Minimum memoryswap limit should be larger than memory limit, see usage");
        refused(
            LimitArgs { memory_swap: some("1g"), ..LimitArgs::default() },
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }

    #[test]
    fn processors_are_a_quota() {
        let limits = parse(&LimitArgs { cpus: some("1.5"), pids_limit: Some(-1), ..LimitArgs::default() }).unwrap();
        assert_eq!((limits.cpu_quota_microseconds, limits.pids), (Some(150_000), None));
        refused(
            LimitArgs { cpus: some("1"), cpu_quota: Some(1), ..LimitArgs::default() },
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        );
        refused(LimitArgs { cpus: some("x"), ..LimitArgs::default() }, "failed to parse x as a rational number");
    }
}
