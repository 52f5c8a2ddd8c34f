//! From what becomes of each number to instructions of the kernel's packet filter (BPF), which seccomp(2) runs.
//!
//! A binary search over the segments: a call is decided after about eight comparisons, whatever its number.

use libc::sock_filter;

use super::profile::{Comparison, Condition};
use super::rules::{Action, Interface, Outcome, Segments};

// linux/bpf_common.h: load a word from a fixed place, compare with a constant, mask with one, jump, return a constant.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

// `struct seccomp_data`: the number, the architecture, the instruction pointer, then six arguments of 64 bits.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// The first number of x32.
const X32_NUMBERS: u32 = 0x4000_0000;
const ENOSYS: u16 = 38;

type Program = Vec<sock_filter>;

/// Assembles the program for all interfaces; a call by any other does not exist.
pub(super) fn assemble(interfaces: &[(Interface, Segments)]) -> Program {
    let mut program = vec![statement(LOAD, ARCHITECTURE_OFFSET)];
    for (interface, segments) in interfaces {
        let mut section = vec![statement(LOAD, NUMBER_OFFSET)];
        if interface.x32 {
            section.push(branch(JUMP_GREATER_OR_EQUAL, X32_NUMBERS, 0, 1));
            section.push(return_action(Action::Errno(ENOSYS)));
        }
        section.extend(search(segments));
        program.push(branch(JUMP_EQUAL, interface.audit, 1, 0));
        program.push(statement(JUMP, length(&section)));
        program.extend(section);
    }
    program.push(return_action(Action::Errno(ENOSYS)));
    program
}

/// Finds the segment of the number that was loaded, by halves.
fn search(segments: &[(u32, Outcome)]) -> Program {
    if let [(_, outcome)] = segments {
        return decide(outcome);
    }
    let (lower, upper) = segments.split_at(segments.len() / 2);
    let Some((start, _)) = upper.first() else { return Program::new() };
    let (lower, upper) = (search(lower), search(upper));
    // A branch reaches 255 instructions, a jump any number.
    let mut program = match u8::try_from(lower.len()) {
        Ok(distance) => vec![branch(JUMP_GREATER_OR_EQUAL, *start, distance, 0)],
        Err(_) => vec![branch(JUMP_GREATER_OR_EQUAL, *start, 0, 1), statement(JUMP, length(&lower))],
    };
    program.extend(lower);
    program.extend(upper);
    program
}

fn decide(outcome: &Outcome) -> Program {
    let mut program = Program::new();
    for (conditions, action) in &outcome.conditional {
        let mut steps: Vec<Step> = conditions.iter().flat_map(steps_of).collect();
        link(&mut steps);
        program.extend(steps.into_iter().map(|step| step.instruction));
        program.push(return_action(*action));
    }
    program.push(return_action(outcome.otherwise));
    program
}

/// An instruction of a condition, with where it leads.
struct Step {
    instruction: sock_filter,
    when_true: Next,
    when_false: Next,
    /// Whether the next condition begins behind this one.
    is_last: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next instruction.
    Step,
    /// The next condition: this one holds.
    Holds,
    /// Behind the last condition: this one does not hold.
    Fails,
}

/// Compares an argument, the upper half first.
fn steps_of(condition: &Condition) -> Vec<Step> {
    use Next::{Fails, Holds, Step as Go};
    let offset = ARGUMENTS_OFFSET + 8 * condition.index.index();
    let (high, low) = halves(condition.value);
    let load = |offset| step(statement(LOAD, offset), Go, Go);
    let test = |code, value, when_true, when_false| step(branch(code, value, 0, 0), when_true, when_false);
    // What greater and smaller upper halves lead to, and how the lower halves are compared when the upper ones are equal.
    let (greater, smaller, code, when_true, when_false) = match condition.op {
        Comparison::Equal => (Fails, Fails, JUMP_EQUAL, Holds, Fails),
        Comparison::NotEqual => (Holds, Holds, JUMP_EQUAL, Fails, Holds),
        Comparison::Greater => (Holds, Fails, JUMP_GREATER, Holds, Fails),
        Comparison::GreaterOrEqual => (Holds, Fails, JUMP_GREATER_OR_EQUAL, Holds, Fails),
        Comparison::Less => (Fails, Holds, JUMP_GREATER_OR_EQUAL, Fails, Holds),
        Comparison::LessOrEqual => (Fails, Holds, JUMP_GREATER, Fails, Holds),
        Comparison::MaskedEqual => return masked(offset, condition),
    };
    let mut steps = vec![
        load(offset + 4),
        test(JUMP_GREATER, high, greater, Go),
        test(JUMP_EQUAL, high, Go, smaller),
        load(offset),
        test(code, low, when_true, when_false),
    ];
    mark_last(&mut steps);
    steps
}

fn masked(offset: u32, condition: &Condition) -> Vec<Step> {
    use Next::{Fails, Holds, Step as Go};
    let (mask_high, mask_low) = halves(condition.value);
    let (high, low) = halves(condition.value_two);
    let mut steps = vec![
        step(statement(LOAD, offset + 4), Go, Go),
        step(statement(AND, mask_high), Go, Go),
        step(branch(JUMP_EQUAL, high, 0, 0), Go, Fails),
        step(statement(LOAD, offset), Go, Go),
        step(statement(AND, mask_low), Go, Go),
        step(branch(JUMP_EQUAL, low, 0, 0), Holds, Fails),
    ];
    mark_last(&mut steps);
    steps
}

fn mark_last(steps: &mut [Step]) {
    if let Some(last) = steps.last_mut() {
        last.is_last = true;
    }
}

/// Turns where the steps lead into distances. Six conditions are at most 36 instructions, well within the reach of a branch.
fn link(steps: &mut [Step]) {
    let total = steps.len();
    let ends: Vec<usize> = (0..total).filter(|index| steps[*index].is_last).collect();
    for (index, step) in steps.iter_mut().enumerate() {
        let end = ends.iter().copied().find(|end| *end >= index).unwrap_or(index);
        let distance = |next| match next {
            Next::Step => 0,
            Next::Holds => end - index,
            // Over the action too.
            Next::Fails => total - index,
        };
        step.instruction.jt = u8::try_from(distance(step.when_true)).unwrap_or(u8::MAX);
        step.instruction.jf = u8::try_from(distance(step.when_false)).unwrap_or(u8::MAX);
    }
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

fn step(instruction: sock_filter, when_true: Next, when_false: Next) -> Step {
    Step { instruction, when_true, when_false, is_last: false }
}

fn statement(code: u16, value: u32) -> sock_filter {
    branch(code, value, 0, 0)
}

fn branch(code: u16, value: u32, when_true: u8, when_false: u8) -> sock_filter {
    sock_filter { code, jt: when_true, jf: when_false, k: value }
}

fn return_action(action: Action) -> sock_filter {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Log => libc::SECCOMP_RET_LOG,
    };
    statement(RETURN, value)
}

fn length(program: &Program) -> u32 {
    u32::try_from(program.len()).unwrap_or(u32::MAX)
}
