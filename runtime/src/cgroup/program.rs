//! The program that decides about devices in version 2 (bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`).
#![expect(unsafe_code, reason = "bpf(2)")]

use std::ffi::c_long;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::devices::Rule;

/// An instruction, as `struct bpf_insn` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// The destination in the lower four bits, the source in the upper ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb4;
const SHIFT_RIGHT: u8 = 0x74;
const AND: u8 = 0x54;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// `struct bpf_cgroup_dev_ctx`: what is asked and of which kind of device in one word, then the device's numbers.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;
const ACCESS: u8 = 5;
/// Reading (2) and writing (4); making nodes is 1.
const OPENING: i32 = 6;
const CHARACTER_DEVICE: i32 = 2;

/// Returns a program that lets nodes be made, and these devices be opened.
fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    let instruction = |code, destination: u8, source: u8, offset, immediate| Instruction {
        code,
        registers: destination | source << 4,
        offset,
        immediate,
    };
    let load = |register, offset| instruction(LOAD_WORD, register, CONTEXT, offset, 0);
    let mut program = vec![
        load(KIND, 0),
        load(MAJOR, 4),
        load(MINOR, 8),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND, ACCESS, 0, 0, OPENING),
        instruction(AND, KIND, 0, 0, 0xffff),
    ];
    // Each rule is two instructions long, or one.
    let length: i16 = rules.iter().map(|rule| if rule.minor.is_some() { 2 } else { 1 }).sum();
    // From the next instruction on: the test of the kind, the rules, and the two that forbid.
    program.push(instruction(JUMP_IF_EQUAL, ACCESS, 0, 1 + length + 2, 0));
    program.push(instruction(JUMP_IF_NOT_EQUAL, KIND, 0, length, CHARACTER_DEVICE));
    let mut left = length;
    for rule in rules {
        let (major, minor) = (rule.major.cast_signed(), rule.minor.map(u32::cast_signed));
        match minor {
            Some(minor) => {
                left -= 2;
                program.push(instruction(JUMP_IF_NOT_EQUAL, MAJOR, 0, 1, major));
                program.push(instruction(JUMP_IF_EQUAL, MINOR, 0, left + 2, minor));
            }
            None => {
                left -= 1;
                program.push(instruction(JUMP_IF_EQUAL, MAJOR, 0, left + 2, major));
            }
        }
    }
    for allowed in [0, 1] {
        program.push(instruction(MOVE, RESULT, 0, 0, allowed));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program
}

/// Attaches the program for these rules to a group, for as long as that exists.
pub(super) fn attach(group: impl AsFd, rules: &[Rule]) -> io::Result<()> {
    let program = load(&assemble(rules))?;
    attach_program(group, &program)
}

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is missing for zeros.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    const PROG_LOAD: c_long = 5;
    const TYPE_CGROUP_DEVICE: u32 = 15;
    let attributes = LoadAttributes {
        program_type: TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        // What the program is under decides which functions of the kernel it may call; it calls none.
        license: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the structure is the kernel's for this command, and what it points to lives for the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given out this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach_program(group: impl AsFd, program: &OwnedFd) -> io::Result<()> {
    const PROG_ATTACH: c_long = 8;
    const TYPE_CGROUP_DEVICE: u32 = 6;
    /// Groups above may have programs of their own; all are asked.
    const ALLOW_MULTI: u32 = 2;
    let number = |fd: i32| u32::try_from(fd).map_err(io::Error::other);
    let attributes = AttachAttributes {
        target: number(group.as_fd().as_raw_fd())?,
        program: number(program.as_raw_fd())?,
        attach_type: TYPE_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the structure is the kernel's for this command and holds numbers only.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attributes, size_of::<AttachAttributes>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::devices::ALLOWED;
    use super::*;

    /// Runs a program as the kernel would, with what is asked (1 to make a node, 2 to read, 4 to write), and of which kind of device (1 block, 2 character).
    fn allows(program: &[Instruction], access: u32, kind: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let (mut registers, mut at) = ([0_u32; 6], 0_usize);
        loop {
            let Instruction { code, registers: names, offset, immediate } = program[at];
            let (to, from) = (usize::from(names & 15), usize::from(names >> 4));
            let value = immediate.cast_unsigned();
            at += 1;
            match code {
                LOAD_WORD => registers[to] = context[usize::try_from(offset).unwrap() / 4],
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = value,
                SHIFT_RIGHT => registers[to] >>= value,
                AND => registers[to] &= value,
                JUMP_IF_EQUAL if registers[to] == value => at += usize::try_from(offset).unwrap(),
                JUMP_IF_NOT_EQUAL if registers[to] != value => at += usize::try_from(offset).unwrap(),
                JUMP_IF_EQUAL | JUMP_IF_NOT_EQUAL => {}
                EXIT => return registers[0] == 1,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_listed_devices_can_be_opened_and_all_can_be_made() {
        let program = assemble(&ALLOWED);
        let null = |access| allows(&program, access, 2, 1, 3);
        assert!(null(1) && null(2) && null(4) && null(7));
        assert!(allows(&program, 6, 2, 136, 77), "terminals of every number");
        assert!(allows(&program, 6, 2, 5, 2), "ptmx");
        assert!(!allows(&program, 2, 2, 1, 1), "memory");
        assert!(!allows(&program, 2, 1, 1, 3), "a block device with the numbers of null");
        assert!(!allows(&program, 2, 1, 8, 0) && !allows(&program, 4, 1, 8, 0), "a disk");
        assert!(allows(&program, 1, 1, 8, 0), "a disk's node");
        assert!(!allows(&program, 3, 1, 8, 0), "a disk's node, made and read");
    }
}
