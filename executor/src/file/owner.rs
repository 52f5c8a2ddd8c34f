//! `--chown` and the user of `WORKDIR`: names of the image that is being made become numbers.

use std::io::Read;

use layer::{Follow, Stack};
use runtime::users::{group_entries, passwd_entries};

use crate::ExecError;

/// The most that is read of `/etc/passwd` or `/etc/group`.
const USERS_BYTES_MAX: u64 = 16 << 20;

/// Returns the numbers of `user[:group]`.
///
/// A number alone is user and group. A name that the image does not know is root's number, as in BuildKit, but an image without the file that would know it is an
/// error (specification, line 66).
pub(crate) fn resolve(stack: &Stack, owner: &str) -> Result<(u32, u32), ExecError> {
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let unknown = || ExecError::OwnerUnknown { owner: owner.to_owned() };
    let (uid, own_gid) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) => {
            let passwd = read_text(stack, "/etc/passwd")?.ok_or_else(unknown)?;
            let entry = passwd_entries(&passwd).find(|entry| entry.name == user);
            entry.map_or((0, 0), |entry| (entry.uid, entry.gid))
        }
    };
    if group.is_empty() {
        return Ok((uid, own_gid));
    }
    let gid = match group.parse::<u32>() {
        Ok(gid) => gid,
        Err(_) => {
            let groups = read_text(stack, "/etc/group")?.ok_or_else(unknown)?;
            group_entries(&groups).find(|entry| entry.name == group).map_or(0, |entry| entry.gid)
        }
    };
    Ok((uid, gid))
}

/// Reads a text file of an image; `Ok(None)` means that it is not there.
pub(crate) fn read_text(stack: &Stack, path: &str) -> Result<Option<String>, ExecError> {
    let resolved = stack.resolve(path.as_bytes(), Follow::All);
    let resolved = resolved.map_err(|source| ExecError::Resolve { path: path.to_owned(), source })?;
    let Some(found) = resolved.found.map(|found| stack.target(&found)) else { return Ok(None) };
    if !matches!(found.entry.kind, layer::Kind::File { .. }) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = stack.open(&found)?.take(USERS_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|source| ExecError::ReadImage { path: path.to_owned(), source })?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
