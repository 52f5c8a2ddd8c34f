//! Addresses of git repositories: which texts are one, and what fragment and query say of ref, directory and the rest.

use llb::GitSource;

use crate::go;

const SCHEMES: [&str; 4] = ["http", "https", "ssh", "git"];

/// Why an address that is one of a git repository is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitUrlError {
    /// A key of the query is not known.
    #[error("unexpected query \"{key}\"")]
    Unknown {
        /// The key.
        key: String,
    },
    /// A key of the query has no value.
    #[error("query \"{key}\" has no value")]
    NoValue {
        /// The key.
        key: String,
    },
    /// A key of the query is there twice.
    #[error("query \"{key}\" has multiple values")]
    Twice {
        /// The key.
        key: String,
    },
    /// A value of the query is none of those that are possible.
    #[error("invalid {key} value: \"{value}\"")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Two parts of the address say different things.
    #[error("{what} conflicts: \"{first}\" vs \"{second}\"")]
    Conflict {
        /// `ref` or `subdir`.
        what: &'static str,
        /// What the one part says.
        first: String,
        /// What the other says.
        second: String,
    },
    /// Both a branch and a tag are named.
    #[error("branch conflicts with tag")]
    BranchAndTag,
}

/// An address of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitUrl {
    /// What it says.
    pub source: GitSource,
    /// Whether it says that `.git` stays.
    pub keep_git_dir: Option<bool>,
}

/// What a text must look like to be the address of a git repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GitForm {
    /// An address over HTTP ends in `.git`.
    Suffix,
    /// Any address over HTTP is one: the instruction says so.
    Known,
}

/// Parses the source of an `ADD`. `Ok(None)` means that the text is no address of a git repository.
pub(crate) fn parse_git_url(text: &str, form: GitForm) -> Result<Option<GitUrl>, GitUrlError> {
    if text.starts_with("./") || text.starts_with("../") {
        return Ok(None);
    }
    match split_address(text) {
        Some(address) if form == GitForm::Known || !address.over_http || address.path.ends_with(".git") => {
            address.into_url().map(Some)
        }
        _ => Ok(None),
    }
}

/// Parses a build context. Here `github.com/owner/repository` is an address too.
pub fn parse_git_context(text: &str) -> Result<Option<GitSource>, GitUrlError> {
    let completed = if text.starts_with("github.com/") { format!("https://{text}") } else { text.to_owned() };
    let form = if text.starts_with("github.com/") { GitForm::Known } else { GitForm::Suffix };
    let url = parse_git_url(&completed, form)?;
    Ok(url.map(|url| GitSource { keep_git_dir: url.keep_git_dir.unwrap_or(false), ..url.source }))
}

/// The parts of an address.
struct Address<'a> {
    over_http: bool,
    /// The path of the repository on its host.
    path: &'a str,
    /// All in front of query and fragment.
    remote: &'a str,
    query: &'a str,
    fragment: &'a str,
}

fn split_address(text: &str) -> Option<Address<'_>> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
    if let Some((scheme, behind)) = remote.split_once("://") {
        let known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
        let path = behind.split_once('/').map_or("", |(_, path)| path);
        let over_http = scheme.to_ascii_lowercase().starts_with("http");
        return known.then_some(Address { over_http, path, remote, query, fragment });
    }
    // `git@host:path`, as ssh has it.
    let (user, behind) = remote.split_once('@')?;
    let (host, path) = behind.split_once(':')?;
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    (word(user, b"-_") && word(host, b"-.")).then_some(Address { over_http: false, path, remote, query, fragment })
}

impl Address<'_> {
    fn into_url(self) -> Result<GitUrl, GitUrlError> {
        let (reference, subdir) = self.fragment.split_once(':').unwrap_or((self.fragment, ""));
        let mut url = GitUrl::default();
        url.source.remote = self.remote.to_owned();
        url.source.reference = percent_decode(reference);
        url.source.subdir = clean_subdir(&percent_decode(subdir));
        let mut named = Named::default();
        let mut seen: Vec<String> = Vec::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (percent_decode(&key.replace('+', " ")), percent_decode(&value.replace('+', " ")));
            if seen.contains(&key) {
                return Err(GitUrlError::Twice { key });
            }
            named.read(&mut url, &key, &value)?;
            seen.push(key);
        }
        named.finish(&mut url.source)?;
        Ok(url)
    }
}

/// What a query names besides what goes into the source at once.
#[derive(Default)]
struct Named {
    tag: String,
    branch: String,
}

impl Named {
    fn read(&mut self, url: &mut GitUrl, key: &str, value: &str) -> Result<(), GitUrlError> {
        let truth = || match value {
            "" => Ok(true),
            value => {
                go::parse_bool(value).ok_or_else(|| GitUrlError::Value { key: key.to_owned(), value: value.to_owned() })
            }
        };
        match key {
            "keep-git-dir" => url.keep_git_dir = Some(truth()?),
            "submodules" => url.source.skip_submodules = !truth()?,
            // Only how the commit is fetched, which is the source's own business.
            "fetch-by-commit" => drop(truth()?),
            "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime" if value.is_empty() => {
                return Err(GitUrlError::NoValue { key: key.to_owned() });
            }
            "ref" => set("ref", &mut url.source.reference, value.to_owned())?,
            "subdir" => set("subdir", &mut url.source.subdir, clean_subdir(value))?,
            "tag" => value.clone_into(&mut self.tag),
            "branch" => value.clone_into(&mut self.branch),
            "checksum" | "commit" => value.clone_into(&mut url.source.checksum),
            "mtime" => match value {
                "checkout" => url.source.commit_times = false,
                "commit" => url.source.commit_times = true,
                _ => return Err(GitUrlError::Value { key: key.to_owned(), value: value.to_owned() }),
            },
            _ => return Err(GitUrlError::Unknown { key: key.to_owned() }),
        }
        Ok(())
    }

    fn finish(self, source: &mut GitSource) -> Result<(), GitUrlError> {
        let full = |prefix: &str, name: String| if name.starts_with(prefix) { name } else { format!("{prefix}{name}") };
        match (self.tag.is_empty(), self.branch.is_empty()) {
            (false, false) => return Err(GitUrlError::BranchAndTag),
            (false, true) => set("ref", &mut source.reference, full("refs/tags/", self.tag))?,
            (true, false) => set("ref", &mut source.reference, full("refs/heads/", self.branch))?,
            (true, true) => {}
        }
        // The beginning of a hash only says which commit the default branch must be at.
        if source.reference.is_empty() && is_whole_hash(&source.checksum) {
            source.reference.clone_from(&source.checksum);
        }
        Ok(())
    }
}

fn is_whole_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hex(text)
}

/// Returns whether a text may be the beginning of a commit's hash.
pub(crate) fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn set(what: &'static str, place: &mut String, value: String) -> Result<(), GitUrlError> {
    if !place.is_empty() && *place != value {
        return Err(GitUrlError::Conflict { what, first: place.clone(), second: value });
    }
    *place = value;
    Ok(())
}

/// Makes a directory relative to the root of the repository, without leaving it.
fn clean_subdir(dir: &str) -> String {
    go::join_path("/", dir).trim_start_matches('/').to_owned()
}

/// Decodes `%20` and the like; what is none stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let decoded = (*first == b'%')
            .then(|| {
                behind
                    .get(..2)
                    .and_then(|hex| std::str::from_utf8(hex).ok())
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            })
            .flatten();
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = match parse_git_url(text, GitForm::Suffix) {
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
            Ok(Some(url)) => {
                let source = url.source;
                let keep = url.keep_git_dir.map(|keep| format!(" keep={keep}")).unwrap_or_default();
                let flags = format!(
                    "{}{}",
                    if source.skip_submodules { " no-submodules" } else { "" },
                    if source.commit_times { " commit-times" } else { "" }
                );
                format!(
                    "{} ref={} dir={} sum={}{keep}{flags}",
                    source.remote, source.reference, source.subdir, source.checksum
                )
            }
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_address_of_a_repository_is_told_by_scheme_or_suffix() {
        check("https://host/a/b.git", "https://host/a/b.git ref= dir= sum=");
        check("https://host/a/b.git#main:sub//dir", "https://host/a/b.git ref=main dir=sub/dir sum=");
        check("git://host/a", "git://host/a ref= dir= sum=");
        check("ssh://git@host/a#v1", "ssh://git@host/a ref=v1 dir= sum=");
        check("git@host:a/b.git#x:../y", "git@host:a/b.git ref=x dir=y sum=");
        check("https://host/a/b.tar", "none");
        check("https://host/a/b.git/", "none");
        check("github.com/a/b", "none");
        check("./a@b:c", "none");
        check("a/b", "none");
        check("ftp://host/a.git", "none");
        assert!(parse_git_url("https://host/a", GitForm::Known).unwrap().is_some());
        assert_eq!(parse_git_context("github.com/a/b#c").unwrap().unwrap().remote, "https://github.com/a/b");
    }

    #[test]
    fn a_query_says_what_a_fragment_says_and_more() {
        check("https://h/a.git?tag=v1&subdir=d", "https://h/a.git ref=refs/tags/v1 dir=d sum=");
        check(
            "https://h/a.git?branch=x&keep-git-dir&submodules=false",
            "https://h/a.git ref=refs/heads/x dir= sum= keep=true no-submodules",
        );
        check("https://h/a.git?commit=abc&mtime=commit", "https://h/a.git ref= dir= sum=abc commit-times");
        let hash = "0a".repeat(20);
        check(&format!("https://h/a.git?commit={hash}"), &format!("https://h/a.git ref={hash} dir= sum={hash}"));
        check("git@h:a?ref=a%2Fb&fetch-by-commit=1", "git@h:a ref=a/b dir= sum=");
        check("https://h/a.git?foo=1", "unexpected query \"foo\"");
        check("https://h/a.git?ref", "query \"ref\" has no value");
        check("https://h/a.git?ref=a&ref=b", "query \"ref\" has multiple values");
        check("https://h/a.git?tag=a&branch=b", "branch conflicts with tag");
        check("https://h/a.git?ref=a#b", "ref conflicts: \"b\" vs \"a\"");
        check("https://h/a.git?mtime=x", "invalid mtime value: \"x\"");
        check("https://h/a.git?submodules=x", "invalid submodules value: \"x\"");
    }
}
