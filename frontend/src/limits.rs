//! What a Dockerfile may not exceed. Each limit is far above what a file that anybody wrote needs; together they bound the memory and the time of a hostile one.

/// The most bytes in a Dockerfile.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// The most bytes in a physical line; users know the number from the error of Docker's own parser.
pub const LINE_BYTES_MAX: usize = 65_535;

/// The most instructions in a Dockerfile.
pub const INSTRUCTIONS_MAX: usize = 100_000;

/// The deepest nesting of substitutions, `${a:-${b:-…}}`; the grammar has the same number, plus the one place of the stack that the escape character takes.
pub const SUBSTITUTIONS_NESTED_MAX: usize = 64;

/// The most bytes that one substituted text may have.
pub const EXPANSION_BYTES_MAX: usize = 4 << 20;

/// The most bytes that one lowering may write into graphs, histories and environments, all told.
pub const PLAN_BYTES_MAX: usize = 128 << 20;

/// The most steps that one lowering may take to match the patterns of substitutions (`${name/pattern/}`), all told.
pub const PATTERN_STEPS_MAX: usize = 50_000_000;

/// The most mistakes that are reported for one file.
pub const DIAGNOSTICS_MAX: usize = 100;
