//! The six things that can be asked of a module, and the policy table of their content types and cache lifetimes.

use crate::module::Version;

/// What is asked of a module (GOPROXY protocol, <https://go.dev/ref/mod#goproxy-protocol>).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Artefact {
    /// `@v/list`: the known tagged versions.
    List,
    /// `@latest`: the version to use when a module has no tagged ones.
    Latest,
    /// `@v/<query>.info` of a branch, a commit or a version prefix.
    Query(String),
    /// `@v/<version>.info` of a canonical version.
    Info(Version),
    /// `@v/<version>.mod`.
    Mod(Version),
    /// `@v/<version>.zip`.
    Zip(Version),
}

/// An [`Artefact`] without its version: what tables, metrics and keys speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtefactKind {
    /// `@v/list`.
    List,
    /// `@latest`.
    Latest,
    /// `.info` of a query.
    Query,
    /// `.info` of a canonical version.
    Info,
    /// `.mod`.
    Mod,
    /// `.zip`.
    Zip,
}

/// `Cache-Control` of what may change.
pub const CACHE_CONTROL_MUTABLE: &str = "public, max-age=60";
/// `Cache-Control` of what never changes.
pub const CACHE_CONTROL_IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// `Cache-Control` of what never changes and was answered to a token.
pub const CACHE_CONTROL_IMMUTABLE_PRIVATE: &str = "private, max-age=31536000, immutable";
/// `Cache-Control` of what may change and was answered to a token.
pub const CACHE_CONTROL_MUTABLE_PRIVATE: &str = "private, max-age=60";

impl ArtefactKind {
    /// Whether another answer may be right tomorrow.
    pub const fn is_mutable(self) -> bool {
        match self {
            Self::List | Self::Latest | Self::Query => true,
            Self::Info | Self::Mod | Self::Zip => false,
        }
    }

    /// The media type of the body.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::List | Self::Mod => "text/plain; charset=utf-8",
            Self::Latest | Self::Query | Self::Info => "application/json",
            Self::Zip => "application/zip",
        }
    }

    /// The `Cache-Control` field; `private` where a token was needed to read.
    pub const fn cache_control(self, private: bool) -> &'static str {
        match (self.is_mutable(), private) {
            (true, false) => CACHE_CONTROL_MUTABLE,
            (true, true) => CACHE_CONTROL_MUTABLE_PRIVATE,
            (false, false) => CACHE_CONTROL_IMMUTABLE,
            (false, true) => CACHE_CONTROL_IMMUTABLE_PRIVATE,
        }
    }

    /// The label value in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Latest => "latest",
            Self::Query => "query",
            Self::Info => "info",
            Self::Mod => "mod",
            Self::Zip => "zip",
        }
    }
}

impl Artefact {
    /// The kind, without the version.
    pub const fn kind(&self) -> ArtefactKind {
        match self {
            Self::List => ArtefactKind::List,
            Self::Latest => ArtefactKind::Latest,
            Self::Query(_) => ArtefactKind::Query,
            Self::Info(_) => ArtefactKind::Info,
            Self::Mod(_) => ArtefactKind::Mod,
            Self::Zip(_) => ArtefactKind::Zip,
        }
    }

    /// Whether another answer may be right tomorrow.
    pub const fn is_mutable(&self) -> bool {
        self.kind().is_mutable()
    }

    /// The canonical version, where one is named.
    pub const fn version(&self) -> Option<&Version> {
        match self {
            Self::Info(version) | Self::Mod(version) | Self::Zip(version) => Some(version),
            Self::List | Self::Latest | Self::Query(_) => None,
        }
    }

    /// The last part of the URL, escaped: `@v/list`, `@latest`, `@v/v1.0.0.zip`.
    pub fn file_name(&self) -> String {
        match self {
            Self::List => "@v/list".to_owned(),
            Self::Latest => "@latest".to_owned(),
            // A query was accepted by `unescape_version`, so escaping it again cannot fail; the text itself is the fallback.
            Self::Query(query) => {
                let escaped = crate::module::escape_version(query).unwrap_or_else(|_| query.clone());
                format!("@v/{escaped}.info")
            }
            Self::Info(version) => format!("@v/{}.info", version.escaped()),
            Self::Mod(version) => format!("@v/{}.mod", version.escaped()),
            Self::Zip(version) => format!("@v/{}.zip", version.escaped()),
        }
    }
}
