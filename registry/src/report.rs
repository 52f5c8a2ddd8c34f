//! What an operation tells while it goes on.

use std::sync::Arc;
use std::time::Duration;

use oci::Digest;

use crate::cause::Cause;

/// Something that a user may want to see while an operation goes on.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An attempt failed, and after a wait there is another one.
    Retrying {
        /// The host.
        host: String,
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// The wait.
        delay: Duration,
        /// Why the attempt failed.
        cause: Cause,
    },
    /// A host failed, and the next one is asked.
    PassedOver {
        /// The host that failed, most often a mirror.
        host: String,
        /// Why it failed.
        cause: Cause,
    },
    /// Bytes of a blob went out.
    Sent {
        /// The blob.
        digest: Digest,
        /// How much has gone; it shrinks when an upload begins again.
        done_bytes: u64,
        /// The length of the blob.
        total_bytes: u64,
    },
}

/// Takes notices; it must not block.
pub(crate) type Report = Arc<dyn Fn(Notice) + Send + Sync>;
