//! Tests that need root's rights: mounts, namespaces, owners.

use std::os::unix::fs::MetadataExt;

/// Panics when the test does not run as root: such a test is never passed over in silence.
#[track_caller]
pub fn require_root() {
    let owner = std::fs::metadata("/proc/self").map(|process| process.uid());
    assert!(
        owner.is_ok_and(|uid| uid == 0),
        "this test needs root's rights: run it as root (in a container, a privileged one), with /proc mounted"
    );
}
