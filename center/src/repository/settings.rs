//! What an operator says of a repository: the section `repositories:` of the center's configuration.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::Period;
use shared::module::Patterns;

use super::private::FetcherSettings;

/// The kinds of repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RepositoryKind {
    /// Holds what is published to it.
    #[default]
    Local,
    /// Fetched from version control.
    Private,
    /// Another GOPROXY server, kept here.
    Remote,
    /// An ordered merge of others.
    Virtual,
}

impl RepositoryKind {
    /// Whether its modules are its own: it answers for what it owns and for nothing else.
    pub(crate) const fn has_its_own(self) -> bool {
        match self {
            Self::Local | Self::Private => true,
            Self::Remote | Self::Virtual => false,
        }
    }

    /// The word used in configuration and answers.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Private => "private",
            Self::Remote => "remote",
            Self::Virtual => "virtual",
        }
    }
}

/// One repository. Keys that do not belong to its kind are refused when the repositories are built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RepositorySettings {
    /// `local`, `private`, `remote` or `virtual`.
    #[serde(rename = "type")]
    pub(crate) kind: RepositoryKind,
    /// any kind: GOPRIVATE patterns of the module paths that are answered here; without one, all are.
    pub(crate) include: Patterns,
    /// any kind: GOPRIVATE patterns of the module paths that are not answered here, though `include` has them.
    pub(crate) exclude: Patterns,
    /// any kind: GOPRIVATE patterns of the module paths that belong to this repository (a virtual one: to its members) even
    /// before anything is published. They are never asked of another repository nor of a public checksum database.
    pub(crate) owns: Vec<String>,
    /// any kind: as a member. A module that a member of a higher priority has is not asked of those with a lower one.
    pub(crate) priority: u32,
    /// any kind: as a member. While this one cannot be asked, lists fail instead of lacking its part.
    pub(crate) hard_fail: bool,
    /// remote: base URL of the GOPROXY server. Without one the repository answers from what it holds.
    pub(crate) upstream: Option<String>,
    /// remote: base URLs of further servers with the same content, asked in this order when those before them fail.
    pub(crate) upstreams: Vec<String>,
    /// remote: ask every server for what it already has (`Disable-Module-Fetch`) before one is made to fetch it.
    pub(crate) held_first: bool,
    /// remote: ask nobody. What is held is answered whatever its age, `list` and `@latest` speak of what is held.
    pub(crate) offline: bool,
    /// remote, private: how long a list, `@latest` or query answers without asking again.
    pub(crate) metadata_period: Period,
    /// remote, private: how long a "not found" answers without asking again.
    pub(crate) negative_period: Period,
    /// remote, private: how long a list, `@latest` or query may be served beyond its period while the upstream fails.
    pub(crate) stale_if_error: Period,
    /// remote, private: after a server could not be reached, for how long something older is served without trying again.
    pub(crate) assumed_offline_period: Period,
    /// remote: time-out of connecting to the upstream.
    pub(crate) connect_timeout: Period,
    /// remote: time-out until the first byte of the upstream's answer.
    pub(crate) first_byte_timeout: Period,
    /// remote: how long the upstream may send nothing in the middle of a body.
    pub(crate) stall_timeout: Period,
    /// private: what fetches the modules.
    pub(crate) fetcher: FetcherSettings,
    /// virtual: the members, asked in this order.
    pub(crate) members: Vec<String>,
    /// virtual: the local member that takes what is published here.
    pub(crate) default_deployment: Option<String>,
    /// virtual: how long a merge waits for its slowest member.
    pub(crate) merge_timeout: Period,
}

impl Default for RepositorySettings {
    fn default() -> Self {
        Self {
            kind: RepositoryKind::Local,
            include: Patterns::default(),
            exclude: Patterns::default(),
            owns: Vec::new(),
            priority: 0,
            hard_fail: false,
            upstream: None,
            upstreams: Vec::new(),
            held_first: false,
            offline: false,
            metadata_period: Period::secs(60),
            negative_period: Period::secs(60),
            stale_if_error: Period::secs(7 * 24 * 3600),
            assumed_offline_period: Period::secs(5),
            connect_timeout: Period::secs(5),
            first_byte_timeout: Period::secs(30),
            stall_timeout: Period::secs(30),
            fetcher: FetcherSettings::default(),
            members: Vec::new(),
            default_deployment: None,
            merge_timeout: Period::secs(60),
        }
    }
}

impl RepositorySettings {
    /// The servers of a remote repository, in the order in which they are asked.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &str> {
        let all = self.upstream.iter().chain(&self.upstreams);
        all.map(String::as_str).filter(|url| !url.is_empty())
    }
}

/// Who knows a key.
const REMOTE: &[RepositoryKind] = &[RepositoryKind::Remote];
const PRIVATE: &[RepositoryKind] = &[RepositoryKind::Private];
const FETCHED: &[RepositoryKind] = &[RepositoryKind::Private, RepositoryKind::Remote];
const VIRTUAL: &[RepositoryKind] = &[RepositoryKind::Virtual];

impl RepositorySettings {
    /// A key that its kind does not know would be a misunderstanding in silence.
    pub(super) fn check_keys(&self) -> Result<(), String> {
        let kind = self.kind;
        let keys = [
            ("upstream", self.upstream.is_some(), REMOTE),
            ("upstreams", !self.upstreams.is_empty(), REMOTE),
            ("held_first", self.held_first, REMOTE),
            ("offline", self.offline, REMOTE),
            ("fetcher", self.fetcher != FetcherSettings::default(), PRIVATE),
            ("members", !self.members.is_empty(), VIRTUAL),
            ("default_deployment", self.default_deployment.is_some(), VIRTUAL),
        ];
        let default = RepositorySettings::default();
        let differs = |of: fn(&RepositorySettings) -> Period| of(self) != of(&default);
        let periods = [
            ("metadata_period", differs(|settings| settings.metadata_period), FETCHED),
            ("negative_period", differs(|settings| settings.negative_period), FETCHED),
            ("stale_if_error", differs(|settings| settings.stale_if_error), FETCHED),
            ("assumed_offline_period", differs(|settings| settings.assumed_offline_period), FETCHED),
            ("connect_timeout", differs(|settings| settings.connect_timeout), REMOTE),
            ("first_byte_timeout", differs(|settings| settings.first_byte_timeout), REMOTE),
            ("stall_timeout", differs(|settings| settings.stall_timeout), REMOTE),
            ("merge_timeout", differs(|settings| settings.merge_timeout), VIRTUAL),
        ];
        for (key, is_set, of) in keys.into_iter().chain(periods) {
            if is_set && !of.contains(&kind) {
                return Err(format!("{key}: a {} repository has no such key", kind.as_str()));
            }
        }
        if kind == RepositoryKind::Private && self.owns.is_empty() {
            return Err("owns: a private repository needs the patterns of its module paths".to_owned());
        }
        if kind == RepositoryKind::Virtual && self.members.is_empty() {
            return Err("members: a virtual repository needs at least one".to_owned());
        }
        Ok(())
    }
}

/// The three repositories a center has unless it is told otherwise.
pub(crate) fn default_repositories() -> BTreeMap<String, RepositorySettings> {
    let local = RepositorySettings::default();
    let remote = RepositorySettings { kind: RepositoryKind::Remote, ..RepositorySettings::default() };
    let merged = RepositorySettings {
        kind: RepositoryKind::Virtual,
        members: vec!["golang-local".to_owned(), "golang-remote".to_owned()],
        default_deployment: Some("golang-local".to_owned()),
        ..RepositorySettings::default()
    };
    BTreeMap::from([
        ("golang-local".to_owned(), local),
        ("golang-remote".to_owned(), remote),
        ("golang-virtual".to_owned(), merged),
    ])
}
