//! Sources of `ADD` that are not files of the context: git repositories and URLs.

use llb::{Checksum, CopySelection, HttpSource, Source};

use crate::git_url::{GitForm, GitUrl, is_hex, parse_git_url, percent_decode};
use crate::go;

use super::contexts::HTTP_MODE;
use super::error::LowerProblem;

/// A source that is not a file of the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    Git(GitUrl),
    Http(String),
}

impl Remote {
    /// Parses a source; `Ok(None)` means that it is a file of the context. `known_git` says that the instruction takes it for a git repository.
    pub(super) fn parse(source: &str, known_git: bool) -> Result<Option<Self>, LowerProblem> {
        let form = if known_git { GitForm::Known } else { GitForm::Suffix };
        if let Some(url) = parse_git_url(source, form)? {
            return Ok(Some(Self::Git(url)));
        }
        let is_http = source.starts_with("http://") || source.starts_with("https://");
        Ok(is_http.then(|| Self::Http(source.to_owned())))
    }

    /// Returns the operation that fetches it, and what of its result is copied.
    pub(super) fn into_source(
        self,
        keep_git_dir: Option<bool>,
        checksum: Option<&str>,
    ) -> Result<(Source, CopySelection), LowerProblem> {
        match self {
            Self::Git(url) => Ok((Source::Git(git_source(url, keep_git_dir, checksum)?), CopySelection::default())),
            Self::Http(url) => {
                let checksum = checksum.map(str::parse::<Checksum>).transpose()?;
                let filename = file_name(&url);
                let selection = match &filename {
                    Some(name) => CopySelection { pattern: name.clone(), ..CopySelection::default() },
                    // The server names the file; it is the only one.
                    None => CopySelection { pattern: "*".to_owned(), wildcard: true, ..CopySelection::default() },
                };
                Ok((Source::Http(HttpSource { url, checksum, filename, mode: HTTP_MODE }), selection))
            }
        }
    }
}

fn git_source(url: GitUrl, keep_git_dir: Option<bool>, checksum: Option<&str>) -> Result<llb::GitSource, LowerProblem> {
    let mut source = url.source;
    if let (Some(flag), Some(address)) = (keep_git_dir, url.keep_git_dir)
        && flag != address
    {
        return Err(LowerProblem::KeepGitDir);
    }
    source.keep_git_dir = url.keep_git_dir.or(keep_git_dir).unwrap_or(false);
    match checksum {
        Some(flag) if source.checksum.is_empty() => source.checksum = flag.to_owned(),
        Some(flag) if source.checksum != flag => {
            return Err(LowerProblem::ChecksumMismatch { flag: go::quote(flag), address: go::quote(&source.checksum) });
        }
        _ => {}
    }
    if !source.checksum.is_empty() && !is_hex(&source.checksum) {
        return Err(LowerProblem::GitChecksum { checksum: go::quote(&source.checksum) });
    }
    Ok(source)
}

/// Returns the name of the file behind a URL: the last part of its path, without query and fragment.
fn file_name(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = percent_decode(rest.split_once('/').map_or("", |(_, path)| path));
    let name = go::base_name(&path);
    let is_name = !matches!(name, "." | ".." | "/") && !name.is_empty();
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec 77
    #[test]
    fn a_downloaded_file_has_the_last_name_of_its_url() {
        let name = |url: &str| file_name(url).unwrap_or_else(|| "none".to_owned());
        assert_eq!(name("https://a/b/c.tar.gz?x=/y"), "c.tar.gz");
        assert_eq!(name("https://a/b/#f"), "b");
        assert_eq!(name("http://a/x%20y"), "x y");
        assert_eq!(["https://a", "https://a/", "https://a?b/c", "https://a/.."].map(name), ["none"; 4]);
    }

    #[test]
    fn flag_and_address_must_not_contradict_each_other() {
        let git =
            |url: &str, keep, checksum| match Remote::parse(url, false).unwrap().unwrap().into_source(keep, checksum) {
                Ok((Source::Git(source), _)) => format!("{} {}", source.checksum, source.keep_git_dir),
                Ok(_) => "http".to_owned(),
                Err(problem) => problem.to_string(),
            };
        assert_eq!(git("https://a/b.git", Some(true), Some("12")), "12 true");
        assert_eq!(git("https://a/b.git?keep-git-dir=true&checksum=12", None, None), "12 true");
        assert_eq!(
            git("https://a/b.git?keep-git-dir=true", Some(false), None),
            "inconsistent keep-git-dir configuration"
        );
        assert_eq!(git("https://a/b.git?checksum=1", None, Some("2")), "checksum mismatch \"2\" != \"1\"");
        assert_eq!(
            git("https://a/b.git", None, Some("foobar")),
            "invalid checksum \"foobar\" for Git source, expected hex commit hash"
        );
        assert_eq!(git("https://a/b", None, None), "http");
    }
}
