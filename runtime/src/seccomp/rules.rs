//! What a profile comes to for one sandbox: for each architecture, what becomes of each number.

use std::collections::BTreeMap;

use super::numbers::number;
use super::profile::{ActionName, Circumstances, Condition, Group, Profile};
use crate::capabilities::Capabilities;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
/// From here on, ARM has calls of its own, far above those that all architectures share.
const PRIVATE_NUMBERS: u32 = 0x000f_0000;

/// What a filter is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The machine; programs of its 32-bit predecessor have the same calls.
    pub architecture: Architecture,
    /// The first two numbers of the kernel's version.
    pub kernel: (u32, u32),
    /// What the sandbox may do.
    pub capabilities: Capabilities,
}

/// A machine that there are numbers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64, with i386.
    X86_64,
    /// AArch64, with ARM.
    Aarch64,
}

impl Architecture {
    /// Returns this machine's; `None` is one that there are no numbers for.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The name in profiles.
    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The ways in which programs of this machine call the kernel.
    pub(super) fn interfaces(self) -> [Interface; 2] {
        // `AUDIT_ARCH_*` of linux/audit.h: the machine's number in ELF files, and bits for 64-bit and little-endian.
        match self {
            Self::X86_64 => [
                Interface { audit: 0xc000_003e, column: 0, x32: true },
                Interface { audit: 0x4000_0003, column: 1, x32: false },
            ],
            Self::Aarch64 => [
                Interface { audit: 0xc000_00b7, column: 2, x32: false },
                Interface { audit: 0x4000_0028, column: 3, x32: false },
            ],
        }
    }
}

/// One way of calling the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    /// By what a filter recognises it.
    pub(super) audit: u32,
    /// Its numbers in the table.
    column: usize,
    /// Whether the numbers from 2^30 on are those of x32.
    pub(super) x32: bool,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Errno(u16),
    KillThread,
    KillProcess,
    Trap,
    Log,
}

/// What becomes of a call, depending on its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The first whose conditions all hold decides.
    pub(super) conditional: Vec<(Vec<Condition>, Action)>,
    pub(super) otherwise: Action,
}

impl Outcome {
    fn always(action: Action) -> Self {
        Self { conditional: Vec::new(), otherwise: action }
    }
}

/// What becomes of every number from the given one up to the next.
pub(super) type Segments = Vec<(u32, Outcome)>;

/// Resolves a profile. The first segment begins at 0, and neighbours differ.
pub(super) fn resolve(profile: &Profile, target: &Target, interface: Interface) -> Segments {
    let default = action(profile.default_action, profile.default_errno_ret);
    let mut calls: BTreeMap<u32, Outcome> = BTreeMap::new();
    let mut last_known = 0;
    for group in &profile.syscalls {
        let numbers = || group.names.iter().filter_map(|name| number(name, interface.column));
        last_known = numbers().filter(|number| *number < PRIVATE_NUMBERS).fold(last_known, u32::max);
        if applies(group, target) {
            let action = action(group.action, group.errno_ret.or(profile.default_errno_ret));
            numbers().for_each(|number| {
                add(calls.entry(number).or_insert(Outcome::always(default)), group, action, default)
            });
        }
    }
    // Calls that are newer than the profile do not exist, as runc has it: programs then do without, where a refusal would make them give up.
    let unknown = if default == Action::Allow { default } else { Action::Errno(ENOSYS) };
    let gap = |number: u32| Outcome::always(if number > last_known { unknown } else { default });
    let mut segments: Segments = Vec::new();
    let mut next = 0;
    for (number, outcome) in calls {
        if number > next {
            push(&mut segments, next, gap(next));
        }
        push(&mut segments, number, outcome);
        next = number + 1;
    }
    push(&mut segments, next, gap(next));
    segments
}

fn push(segments: &mut Segments, start: u32, outcome: Outcome) {
    if segments.last().is_none_or(|(_, last)| *last != outcome) {
        segments.push((start, outcome));
    }
}

fn add(outcome: &mut Outcome, group: &Group, action: Action, default: Action) {
    if !group.args.is_empty() {
        outcome.conditional.push((group.args.clone(), action));
    } else if outcome.otherwise == default {
        outcome.otherwise = action;
    }
    let otherwise = outcome.otherwise;
    // Conditions that lead to what happens without them decide nothing, unless another stands behind them.
    while outcome.conditional.pop_if(|(_, action)| *action == otherwise).is_some() {}
}

fn action(name: ActionName, errno: Option<u16>) -> Action {
    match name {
        ActionName::Allow => Action::Allow,
        ActionName::Errno => Action::Errno(errno.unwrap_or(EPERM)),
        ActionName::KillThread => Action::KillThread,
        ActionName::KillProcess => Action::KillProcess,
        ActionName::Trap => Action::Trap,
        ActionName::Log => Action::Log,
    }
}

fn applies(group: &Group, target: &Target) -> bool {
    let has = |name: &String| Capabilities::from_name(name).is_some_and(|it| target.capabilities.contains(it));
    let is_machine = |name: &String| name == target.architecture.name();
    let is_new_enough = |min: &String| parse_version(min).is_some_and(|min| target.kernel >= min);
    let Circumstances { caps, arches, min_kernel } = &group.includes;
    let included = caps.iter().all(has)
        && (arches.is_empty() || arches.iter().any(is_machine))
        && min_kernel.as_ref().is_none_or(is_new_enough);
    let Circumstances { caps, arches, min_kernel } = &group.excludes;
    let excluded =
        caps.iter().any(has) || arches.iter().any(is_machine) || min_kernel.as_ref().is_some_and(is_new_enough);
    included && !excluded
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
