//! What a path of the distribution protocol names.

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/v2/`
    Version,
    /// `/token`
    Token,
    /// `/v2/<repository>/manifests/<tag or digest>`
    Manifest { repository: &'a str, name: &'a str },
    /// `/v2/<repository>/blobs/<digest>`
    Blob { repository: &'a str, digest: &'a str },
    /// `/v2/<repository>/blobs/uploads/`
    Uploads { repository: &'a str },
    /// `/v2/<repository>/blobs/uploads/<id>`
    Upload { repository: &'a str, id: &'a str },
    /// `/v2/<repository>/tags/list`
    Tags { repository: &'a str },
    /// Anything else.
    File,
}

impl<'a> Route<'a> {
    pub(super) fn parse(path: &'a str) -> Self {
        if path == "/token" {
            return Self::Token;
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return Self::File };
        if rest.is_empty() {
            return Self::Version;
        }
        if let Some((repository, id)) = rest.rsplit_once("/blobs/uploads/") {
            return if id.is_empty() { Self::Uploads { repository } } else { Self::Upload { repository, id } };
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Self::Tags { repository };
        }
        if let Some((repository, name)) = rest.rsplit_once("/manifests/") {
            return Self::Manifest { repository, name };
        }
        match rest.rsplit_once("/blobs/") {
            Some((repository, digest)) => Self::Blob { repository, digest },
            None => Self::File,
        }
    }

    pub(super) fn repository(&self) -> Option<&'a str> {
        match *self {
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Tags { repository } => Some(repository),
            Self::Version | Self::Token | Self::File => None,
        }
    }
}
