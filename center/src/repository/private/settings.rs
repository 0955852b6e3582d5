//! What an operator says of how private modules are fetched: `fetcher:` of a private repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};

/// The user's name beside a token, where none is configured.
pub(super) const USERNAME_DEFAULT: &str = "oauth2";

/// What fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FetcherKind {
    /// The `go` command with the version control programs that it needs.
    #[default]
    Go,
    /// An HTTP endpoint of the operator's.
    Http,
    /// A program of the operator's.
    Command,
}

/// How modules are fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FetcherSettings {
    /// `go`, or an external fetcher: `http` or `command` (docs/private-repositories.md has its protocol).
    pub(crate) kind: FetcherKind,
    /// go: the program, found in PATH unless it is a path.
    pub(crate) program: PathBuf,
    /// go: which version control systems may be used for which paths, as in GOVCS.
    pub(crate) vcs: String,
    /// go, http: what is known of single hosts, by exact name.
    pub(crate) hosts: BTreeMap<String, HostSettings>,
    /// http: the endpoint's base URL.
    pub(crate) url: Option<String>,
    /// command: the program and its arguments.
    pub(crate) command: Vec<String>,
    /// command: names of environment variables that it gets besides PATH, HOME and the proxy.
    pub(crate) environment: Vec<String>,
    /// How many fetches run at a time. What is held never waits for them.
    pub(crate) workers: usize,
    /// How many more may wait for their turn; beyond that the answer is 503 at once.
    pub(crate) queue_max: usize,
    /// How long one command or request may take; it is then killed with all that it started.
    pub(crate) timeout: Period,
    /// go, command: address space that each process may have.
    pub(crate) memory_max: ByteSize,
    /// go, command: largest file that a process may write.
    pub(crate) file_size_max: ByteSize,
    /// go: disk space for clones that are kept between fetches; those not used for longest go first.
    pub(crate) cache_size_max: ByteSize,
    /// For how long beyond its period a list, `@latest` or query is answered at once while it is asked for anew.
    pub(crate) refresh_behind: Period,
    /// File with the secret of the webhook. Without a secret there is no webhook.
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// Environment variable with the secret of the webhook.
    pub(crate) webhook_secret_env: Option<String>,
}

impl Default for FetcherSettings {
    fn default() -> Self {
        Self {
            kind: FetcherKind::Go,
            program: PathBuf::from("go"),
            vcs: "*:git|hg".to_owned(),
            hosts: BTreeMap::new(),
            url: None,
            command: Vec::new(),
            environment: Vec::new(),
            workers: 4,
            queue_max: 64,
            timeout: Period::secs(5 * 60),
            memory_max: ByteSize::mib(8 << 10),
            file_size_max: ByteSize::mib(4 << 10),
            cache_size_max: ByteSize::mib(20 << 10),
            refresh_behind: Period::secs(24 * 3600),
            webhook_secret_file: None,
            webhook_secret_env: None,
        }
    }
}

/// What is known of one host. Credentials are read for each fetch, and sent to this host alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostSettings {
    /// https: the user's name; most hosts take any beside a token. Default: `oauth2`.
    pub(crate) username: Option<String>,
    /// http, https: file with the password or token.
    pub(crate) password_file: Option<PathBuf>,
    /// https: environment variable with the password or token.
    pub(crate) password_env: Option<String>,
    /// Subversion over https: the realm for which the password is meant, as the server states it
    /// (`WWW-Authenticate: Basic realm="…"`). Without it Subversion sends no password.
    pub(crate) realm: Option<String>,
    /// https: certificates (PEM) of the authorities to be trusted for this host besides the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// ssh: the private key; it must be readable by its owner alone.
    pub(crate) ssh_key_file: Option<PathBuf>,
    /// ssh: the host's keys, as in `known_hosts`. Without it the host is not trusted.
    pub(crate) known_hosts_file: Option<PathBuf>,
}

impl FetcherSettings {
    /// What the types cannot say. The message names the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.workers == 0 {
            return Err("fetcher.workers: must be at least 1".to_owned());
        }
        match self.kind {
            FetcherKind::Go => {}
            FetcherKind::Http => {
                let url = self.url.as_deref().and_then(|url| Url::parse(url).ok());
                if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https")) {
                    return Err("fetcher.url: a URL that begins with http:// or https:// is needed".to_owned());
                }
            }
            FetcherKind::Command => {
                if self.command.is_empty() {
                    return Err("fetcher.command: the program is needed".to_owned());
                }
            }
        }
        for host in self.hosts.keys() {
            let is_host = host.starts_with(|c: char| c.is_ascii_alphanumeric())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !is_host {
                return Err(format!("fetcher.hosts: {host:?} is not the name of a host"));
            }
        }
        Ok(())
    }

    /// The secret of the webhook, if there is one.
    pub(super) fn webhook_secret(&self) -> Result<Option<String>, String> {
        read_secret(self.webhook_secret_file.as_deref(), self.webhook_secret_env.as_deref())
            .map_err(|why| format!("fetcher.webhook_secret: {why}"))
    }
}

impl HostSettings {
    /// The password or token, if there is one.
    pub(super) fn password(&self) -> Result<Option<String>, String> {
        read_secret(self.password_file.as_deref(), self.password_env.as_deref())
    }
}

/// A secret from a file, or else from a variable; none if neither is named. One that is named and empty is an error.
fn read_secret(file: Option<&Path>, variable: Option<&str>) -> Result<Option<String>, String> {
    let text = match (file, variable) {
        (Some(_), Some(_)) => return Err("name a file or a variable, not both".to_owned()),
        (None, None) => return Ok(None),
        (Some(file), None) => std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?,
        (None, Some(name)) => std::env::var(name).map_err(|error| format!("{name}: {error}"))?,
    };
    let secret = text.trim();
    if secret.is_empty() || secret.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a secret is one word".to_owned());
    }
    Ok(Some(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_one_place_and_is_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let read = |file: &Path| read_secret(Some(file), None);
        assert_eq!(read(&file("good", "token\n")).unwrap().as_deref(), Some("token"));
        assert!(read(&file("empty", "\n")).is_err());
        assert!(read(&file("two", "a b")).is_err());
        assert!(read(Path::new("/nonexistent")).unwrap_err().contains("/nonexistent"));
        assert!(read_secret(Some(Path::new("/x")), Some("X")).is_err());
        assert_eq!(read_secret(None, None).unwrap(), None);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let with = |change: fn(&mut FetcherSettings)| {
            let mut settings = FetcherSettings::default();
            change(&mut settings);
            settings.check().unwrap_err()
        };
        assert!(with(|s| s.workers = 0).contains("workers"));
        assert!(with(|s| s.kind = FetcherKind::Http).contains("url"));
        assert!(with(|s| s.kind = FetcherKind::Command).contains("command"));
        assert!(with(|s| drop(s.hosts.insert("a b".to_owned(), HostSettings::default()))).contains("a b"));
        FetcherSettings::default().check().unwrap();
    }
}
