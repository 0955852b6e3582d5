//! The settings of pre-warming: one group, `prewarm`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};

use super::limits::Hours;
use super::sources::toolchain;
use super::wanted::Key;

/// What is kept warm at the edges, and how fast.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PrewarmSettings {
    /// Folder of the queue, its log and the copies of git repositories.
    pub(crate) state_dir: PathBuf,
    /// Folders that are searched for `go.mod`, `go.sum`, `go.work`, `*.cdx.json`, `bom.json`, `*.spdx.json` and `*.spdx`, and watched.
    pub(crate) directories: Vec<PathBuf>,
    /// How often the folders are searched for new files; known ones are looked at once a second.
    pub(crate) search_every: Period,
    /// Git repositories whose files are searched in the same way.
    pub(crate) git: Vec<GitSettings>,
    /// `module@version` or `module@latest`, each with what a program that requires it would load.
    pub(crate) modules: Vec<String>,
    /// Files with one `module@version` or `module@latest` a line; `#` begins a comment. They are watched.
    pub(crate) lists: Vec<PathBuf>,
    /// So many of the modules that each edge is asked for most are kept warm everywhere, at their latest version; 0: none.
    pub(crate) hot_modules: usize,
    /// How often hot modules, `@latest` of lists and git repositories without an interval of their own are looked at.
    pub(crate) look_every: Period,
    /// How often everything is asked of the edges again, for what they have evicted meanwhile.
    pub(crate) again_every: Period,
    /// Which toolchains.
    pub(crate) toolchains: ToolchainSettings,
    /// Most artefacts that each edge is made to fetch in a second; 0: no limit.
    pub(crate) artefacts_per_second: u64,
    /// Most bytes that each edge is made to fetch in a day (UTC); 0: no limit.
    pub(crate) bytes_per_day: ByteSize,
    /// The hours of the day in which edges are made to fetch, UTC, as in `22:00-06:00`; empty: all day.
    pub(crate) hours: String,
    /// Most versions that wait for one edge; what comes when it is full is refused, and comes again with `again_every`.
    pub(crate) queue_max: usize,
    /// How often a version is tried until it is put on the list of the dead.
    pub(crate) tries_max: u32,
    /// The wait before the second try; it doubles with each further one.
    pub(crate) retry_first: Period,
    /// The longest wait between two tries.
    pub(crate) retry_longest: Period,
}

/// One git repository.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GitSettings {
    /// Where it is: `https://…`, `ssh://…` or `file://…`. A credential may stand in it, and is never shown.
    pub(crate) url: String,
    /// The branch or tag; empty: the one that the repository calls HEAD.
    pub(crate) branch: String,
    /// How often it is fetched, instead of `look_every`.
    pub(crate) every: Option<Period>,
    /// The private key for `ssh://`.
    pub(crate) ssh_key_file: Option<PathBuf>,
    /// The keys of the hosts that are trusted for `ssh://`.
    pub(crate) known_hosts_file: Option<PathBuf>,
}

/// Toolchains that the `go` command downloads as `golang.org/toolchain`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ToolchainSettings {
    /// For which platforms, such as `linux-amd64`; none: no toolchains.
    pub(crate) platforms: Vec<String>,
    /// Versions that are always kept, such as `go1.26.0`.
    pub(crate) versions: Vec<String>,
    /// Also those that the `go` and `toolchain` lines of watched projects ask for.
    pub(crate) of_projects: bool,
}

impl Default for PrewarmSettings {
    fn default() -> Self {
        Self {
            state_dir: ".modtier/syncer".into(),
            directories: Vec::new(),
            search_every: Period::secs(30),
            git: Vec::new(),
            modules: Vec::new(),
            lists: Vec::new(),
            hot_modules: 0,
            look_every: Period::secs(300),
            again_every: Period::secs(3600),
            toolchains: ToolchainSettings { of_projects: true, ..ToolchainSettings::default() },
            artefacts_per_second: 0,
            bytes_per_day: ByteSize::new(0),
            hours: String::new(),
            queue_max: 100_000,
            tries_max: 5,
            retry_first: Period::secs(5),
            retry_longest: Period::secs(600),
        }
    }
}

impl PrewarmSettings {
    /// What the types cannot say; the answer names the setting and shows no URL.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.hours.parse::<Hours>().map_err(|error| format!("prewarm.hours: {error}"))?;
        for (name, period) in [
            ("search_every", self.search_every),
            ("look_every", self.look_every),
            ("again_every", self.again_every),
            ("retry_first", self.retry_first),
        ] {
            if period.get().is_zero() {
                return Err(format!("prewarm.{name}: it must be longer than nothing"));
            }
        }
        if self.queue_max == 0 || self.tries_max == 0 {
            return Err("prewarm.queue_max and prewarm.tries_max: at least 1".to_owned());
        }
        for (index, name) in self.modules.iter().enumerate() {
            if !name.ends_with("@latest") {
                name.parse::<Key>().map_err(|error| format!("prewarm.modules[{index}]: {error}"))?;
            }
        }
        for (index, git) in self.git.iter().enumerate() {
            let known = ["https://", "http://", "ssh://", "file://"];
            if !known.iter().any(|scheme| git.url.starts_with(scheme)) {
                return Err(format!("prewarm.git[{index}].url: expected https://, ssh:// or file://"));
            }
            if git.branch.starts_with('-') || git.branch.contains(char::is_whitespace) {
                return Err(format!("prewarm.git[{index}].branch: not the name of a branch"));
            }
        }
        toolchain::check(&self.toolchains)
    }

    /// Whether anything is to be kept warm.
    pub(crate) fn has_sources(&self) -> bool {
        !self.directories.is_empty()
            || !self.git.is_empty()
            || !self.modules.is_empty()
            || !self.lists.is_empty()
            || self.hot_modules > 0
            || !self.toolchains.versions.is_empty()
    }
}
