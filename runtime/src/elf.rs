//! Which machine a program is for, by the header of its ELF file (elf(5)), and which loader it asks for.
//!
//! **Invariant:** pure functions over bytes; any bytes will do.

/// How many bytes from the start of a program are enough for [`inspect`].
pub const HEADER_BYTES: usize = 4096;

/// What the kernel needs to know to run a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A program for a machine.
    Elf {
        /// The architecture by the names that platforms have (`amd64`, `arm64` …); `None` is one that Kiln has no name for.
        architecture: Option<&'static str>,
        /// The loader (`PT_INTERP`) that it asks for, when the bytes tell; static programs have none.
        interpreter: Option<String>,
    },
    /// A script: the program behind its `#!`.
    Script {
        /// The program.
        interpreter: String,
    },
    /// Anything else; the kernel has no way to run it.
    Other,
}

impl Program {
    /// Returns the architecture that it is for, where that can be told.
    pub fn architecture(self) -> Option<&'static str> {
        match self {
            Self::Elf { architecture, .. } => architecture,
            Self::Script { .. } | Self::Other => None,
        }
    }
}

/// Looks at the first bytes of a file.
pub fn inspect(bytes: &[u8]) -> Program {
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let word = String::from_utf8_lossy(line).split_whitespace().next().map(str::to_owned);
        return word.map_or(Program::Other, |interpreter| Program::Script { interpreter });
    }
    let Some(elf) = Elf::parse(bytes) else { return Program::Other };
    Program::Elf { architecture: elf.architecture(), interpreter: elf.interpreter() }
}

/// The architecture of this machine, by the names that platforms have.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// A header that was understood as far as its class and byte order.
struct Elf<'a> {
    bytes: &'a [u8],
    wide: bool,
    little: bool,
}

impl<'a> Elf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (wide, little) = match bytes.get(..6)? {
            [0x7f, b'E', b'L', b'F', class @ (1 | 2), order @ (1 | 2)] => (*class == 2, *order == 1),
            _ => return None,
        };
        Some(Self { bytes, wide, little })
    }

    /// Reads a number of `size` bytes, at most 8.
    fn number(&self, offset: usize, size: usize) -> Option<u64> {
        let field = self.bytes.get(offset..offset.checked_add(size)?)?;
        let shift = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.little { field.iter().rev().fold(0, shift) } else { field.iter().fold(0, shift) })
    }

    fn architecture(&self) -> Option<&'static str> {
        Some(match (self.number(18, 2)?, self.wide, self.little) {
            (3, false, true) => "386",
            (62, true, true) => "amd64",
            (40, false, true) => "arm",
            (183, true, true) => "arm64",
            (243, true, true) => "riscv64",
            (258, true, true) => "loong64",
            (21, true, true) => "ppc64le",
            (21, true, false) => "ppc64",
            (22, true, false) => "s390x",
            (8, true, true) => "mips64le",
            (8, true, false) => "mips64",
            (8, false, true) => "mipsle",
            (8, false, false) => "mips",
            _ => return None,
        })
    }

    fn interpreter(&self) -> Option<String> {
        const PT_INTERP: u64 = 3;
        // Where the program headers are, how large one is and how many; then the offset and size within one: elf(5), `Elf32_Ehdr` to `Elf64_Phdr`.
        let (table, size, count) = if self.wide { ((32, 8), 54, 56) } else { ((28, 4), 42, 44) };
        let (offset_field, size_field, width) = if self.wide { (8, 32, 8) } else { (4, 16, 4) };
        let table = self.number(table.0, table.1)?;
        let (size, count) = (self.number(size, 2)?, self.number(count, 2)?);
        for index in 0..count {
            let header = usize::try_from(table.checked_add(index * size)?).ok()?;
            if self.number(header, 4)? != PT_INTERP {
                continue;
            }
            let start = usize::try_from(self.number(header.checked_add(offset_field)?, width)?).ok()?;
            let length = usize::try_from(self.number(header.checked_add(size_field)?, width)?).ok()?;
            let text = self.bytes.get(start..start.checked_add(length)?)?;
            return Some(String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or(text)).into_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the start of a program for a machine, with a loader where one is given.
    fn program(class: u8, order: u8, machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let number = |value: u64, size: usize| -> Vec<u8> {
            let bytes = value.to_le_bytes()[..size].to_vec();
            if order == 1 { bytes } else { bytes.into_iter().rev().collect() }
        };
        let mut bytes = vec![0; 256];
        let mut put = |offset: usize, field: Vec<u8>| bytes[offset..offset + field.len()].copy_from_slice(&field);
        put(0, vec![0x7f, b'E', b'L', b'F', class, order, 1]);
        put(18, number(machine.into(), 2));
        if let Some(text) = interpreter {
            put(32, number(64, 8));
            put(54, number(56, 2));
            put(56, number(1, 2));
            put(64, number(3, 4));
            put(64 + 8, number(128, 8));
            put(64 + 32, number(text.len() as u64 + 1, 8));
            put(128, text.as_bytes().to_vec());
        }
        bytes
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let found = match inspect(bytes) {
            Program::Elf { architecture, interpreter } => {
                [Some(architecture.unwrap_or("unknown")), interpreter.as_deref()]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            Program::Script { interpreter } => format!("#! {interpreter}"),
            Program::Other => "other".to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_header_tells_machine_and_loader() {
        check(&program(2, 1, 62, None), "amd64");
        check(&program(2, 1, 183, Some("/lib/ld-linux-aarch64.so.1")), "arm64 /lib/ld-linux-aarch64.so.1");
        check(&program(2, 2, 22, Some("/lib/ld64.so.1")), "s390x /lib/ld64.so.1");
        check(&program(1, 1, 40, None), "arm");
        check(&program(1, 1, 62, None), "unknown");
        check(&program(2, 1, 9999, None), "unknown");
    }

    #[test]
    fn scripts_name_their_interpreter() {
        check(b"#!/bin/sh\necho", "#! /bin/sh");
        check(b"#! /usr/bin/env  python3", "#! /usr/bin/env");
        check(b"#!\n/bin/sh", "other");
    }

    #[test]
    fn any_bytes_will_do() {
        check(b"", "other");
        check(b"\x7fELF", "other");
        let whole = program(2, 1, 183, Some("/lib/ld.so"));
        for length in 0..whole.len() {
            inspect(&whole[..length]);
        }
        for offset in 0..whole.len() {
            let mut broken = whole.clone();
            broken[offset] = 0xff;
            inspect(&broken);
        }
    }

    #[test]
    fn this_test_is_a_program_for_this_machine() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let Program::Elf { architecture, .. } = inspect(&own) else { panic!("not a program") };
        assert_eq!(architecture, Some(host_architecture()));
    }
}
