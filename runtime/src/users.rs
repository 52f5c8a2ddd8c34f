//! Who `user[:group]` is, by Docker's rules, from the texts of `/etc/passwd` and `/etc/group`.
//!
//! **Invariant:** pure functions over text; nothing here asks the host who its users are.

use crate::spec::Identity;

/// The largest id that Docker accepts.
const ID_MAX: u64 = i32::MAX as u64;

/// Who `user[:group]` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The numbers.
    pub identity: Identity,
    /// The home directory, for `HOME`; `/` where nothing says.
    pub home: String,
}

/// Why `user[:group]` is nobody; the texts are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No user has the name.
    #[error("unable to find user {name}: no matching entries in passwd file")]
    User {
        /// The name.
        name: String,
    },
    /// No group has the name.
    #[error("unable to find group {name}: no matching entries in group file")]
    Group {
        /// The name.
        name: String,
    },
    /// A number is too large.
    #[error("uids and gids must be in range 0-{ID_MAX}, got `{id}`")]
    Range {
        /// The number.
        id: String,
    },
}

/// A line of `/etc/passwd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswdEntry<'a> {
    /// The user's name.
    pub name: &'a str,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
    /// The home directory.
    pub home: &'a str,
}

/// A line of `/etc/group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEntry<'a> {
    /// The group's name.
    pub name: &'a str,
    /// The group's number.
    pub gid: u32,
    members: &'a str,
}

impl<'a> GroupEntry<'a> {
    /// Returns the names of those who are in the group beside the users whose own it is.
    pub fn members(&self) -> impl Iterator<Item = &'a str> {
        self.members.split(',').filter(|name| !name.is_empty())
    }
}

/// Returns the entries of `/etc/passwd`. Lines that are no entry are passed over, as every C library does.
pub fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let (_comment, home) = (fields.next(), fields.next().unwrap_or_default());
        Some(PasswdEntry { name, uid, gid, home })
    })
}

/// Returns the entries of `/etc/group`. Lines that are no entry are passed over.
pub fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = fields.next()?.parse().ok()?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
    })
}

/// Resolves `user[:group]`; both may be names or numbers, and an empty user is root.
///
/// A number needs no entry; then the group is 0 and the home directory is `/`. Without `:group`, the user is in all groups that name it as a member; with
/// it, in that one only. The own group is always among the groups. A name that consists of digits is a number.
pub fn resolve(text: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (user_text, group_text) = text.split_once(':').unwrap_or((text, ""));
    let user_text = if user_text.is_empty() { "0" } else { user_text };
    let number = parse_id(user_text)?;
    let entry = passwd_entries(passwd).find(|entry| number.map_or(entry.name == user_text, |uid| entry.uid == uid));
    let uid = match (entry, number) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(UserError::User { name: user_text.to_owned() }),
    };
    let (gid, mut groups) = if group_text.is_empty() {
        let groups = entry.map(|entry| groups_of(entry.name, group)).unwrap_or_default();
        (entry.map_or(0, |entry| entry.gid), groups)
    } else {
        (find_group(group_text, group)?, Vec::new())
    };
    // As Docker does since CVE-2022-36109: else giving up the group with `setgid` would shed what a negative permission of the group denies.
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(User { identity: Identity { uid, gid, groups }, home })
}

/// Returns a group's number by its name or number.
pub fn find_group(text: &str, group: &str) -> Result<u32, UserError> {
    if let Some(gid) = parse_id(text)? {
        return Ok(gid);
    }
    let entry = group_entries(group).find(|entry| entry.name == text);
    entry.map(|entry| entry.gid).ok_or_else(|| UserError::Group { name: text.to_owned() })
}

fn groups_of(user: &str, group: &str) -> Vec<u32> {
    let mut groups: Vec<u32> = Vec::new();
    for entry in group_entries(group) {
        if entry.members().any(|member| member == user) && !groups.contains(&entry.gid) {
            groups.push(entry.gid);
        }
    }
    groups
}

/// Returns the number where the text is one; `None` is a name.
fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse::<u64>().ok().filter(|id| *id <= ID_MAX).and_then(|id| u32::try_from(id).ok());
    id.map(Some).ok_or_else(|| UserError::Range { id: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                          # a comment\n\
                          +::::::\n\
                          \n\
                          app:x:1000:1001:App,,,:/home/app:/bin/sh\n\
                          lost:x:2000:2000::\n\
                          broken:x:many:0::/:\n\
                          twin:x:1000:1002::/home/twin:\n";
    const GROUP: &str = "root:x:0:\n\
                         wheel:x:10:root,app\n\
                         app:x:1001:\n\
                         audio:x:29:app\n\
                         again:x:29:app\n\
                         12:x:13:\n";

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let resolved = resolve(text, PASSWD, GROUP);
        let found = resolved
            .map(|User { identity, home }| format!("{}:{} {:?} {home}", identity.uid, identity.gid, identity.groups));
        assert_eq!(found.unwrap_or_else(|err| err.to_string()), expected);
    }

    /// Line 50 of the specification.
    #[test]
    fn numbers_need_no_entry_and_names_bring_their_groups() {
        check("", "0:0 [0, 10] /root");
        check("root", "0:0 [0, 10] /root");
        check("0", "0:0 [0, 10] /root");
        check("4242", "4242:0 [0] /");
        check("app", "1000:1001 [1001, 10, 29] /home/app");
        check("1000", "1000:1001 [1001, 10, 29] /home/app");
        check("app:audio", "1000:29 [29] /home/app");
        check("app:0", "1000:0 [0] /home/app");
        check("4242:4343", "4242:4343 [4343] /");
        check("app:", "1000:1001 [1001, 10, 29] /home/app");
        check(":audio", "0:29 [29] /root");
        check("lost", "2000:2000 [2000] /");
        check("4242:12", "4242:12 [12] /");
    }

    /// Line 49 of the specification.
    #[test]
    fn unknown_names_are_refused_in_dockers_words() {
        check("nope", "unable to find user nope: no matching entries in passwd file");
        check("app:nope", "unable to find group nope: no matching entries in group file");
        check("broken", "unable to find user broken: no matching entries in passwd file");
        check("-1", "unable to find user -1: no matching entries in passwd file");
        check("2147483648", "uids and gids must be in range 0-2147483647, got `2147483648`");
        check("0:99999999999999999999", "uids and gids must be in range 0-2147483647, got `99999999999999999999`");
    }

    #[test]
    fn an_image_without_users_has_root_by_number() {
        let user = resolve("", "", "").unwrap();
        assert_eq!((user.identity, user.home.as_str()), (Identity { uid: 0, gid: 0, groups: vec![0] }, "/"));
        assert_eq!(resolve("root", "", ""), Err(UserError::User { name: "root".into() }));
    }
}
