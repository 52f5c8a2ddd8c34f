//! Why a stream is not a tar that can be read.

use std::io;

/// Why a tar cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream failed, or what it was compressed with is damaged.
    #[error("cannot read the archive at byte {offset}")]
    Read {
        /// How far it was read.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// It ends in the middle of something.
    #[error("unexpected end of the archive at byte {offset}: it is truncated")]
    Truncated {
        /// Where it ends.
        offset: u64,
    },
    /// What should be a header is none.
    #[error("invalid tar header at byte {offset}: {reason}")]
    Header {
        /// Where the header begins.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A PAX header, a sparse map or a long name is malformed.
    #[error("invalid tar extension header before byte {offset}: {reason}")]
    Extension {
        /// Where it ends.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It holds a kind of file that layers do not have.
    #[error("cannot unpack `{name}`: unsupported tar entry of type `{type_flag}`")]
    Unsupported {
        /// The name of the member.
        name: String,
        /// The letter of the type.
        type_flag: char,
    },
    /// An extension header is longer than any that means well.
    #[error("tar extension header too large: at most {bytes_max} bytes, the one at byte {offset} has {bytes}")]
    ExtensionTooLarge {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        bytes_max: u64,
    },
    /// There are more members than the caller allows.
    #[error("the archive has more than {entries_max} entries")]
    TooManyEntries {
        /// How many are allowed.
        entries_max: u64,
    },
    /// Its files are larger than the caller allows.
    #[error("the files of the archive have more than {bytes_max} bytes in all")]
    TooLarge {
        /// How many bytes are allowed.
        bytes_max: u64,
    },
    /// It is longer than the caller allows.
    #[error("the archive has more than {bytes_max} bytes")]
    StreamTooLong {
        /// How many bytes are allowed.
        bytes_max: u64,
    },
}
