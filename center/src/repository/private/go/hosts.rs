//! What is known of single hosts: credentials and authorities, as they are now.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::repository::private::settings::{HostSettings, USERNAME_DEFAULT};

/// Where systems keep the certificates that they trust, in the order in which `go` looks.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// One host.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) username: String,
    pub(super) password: Option<String>,
    /// What Subversion knows the password by.
    pub(super) realm: Option<String>,
    /// Certificates (PEM) that are trusted for this host besides the system's.
    pub(super) authority: Option<PathBuf>,
    pub(super) ssh_key_file: Option<PathBuf>,
    pub(super) known_hosts_file: Option<PathBuf>,
}

/// All of them, by exact name.
pub(super) struct Hosts {
    by_name: BTreeMap<String, Host>,
    system_roots: Option<PathBuf>,
}

impl Hosts {
    pub(super) fn new(settings: &BTreeMap<String, HostSettings>) -> Result<Self, String> {
        let mut by_name = BTreeMap::new();
        for (name, settings) in settings {
            let host = read(settings).map_err(|why| format!("fetcher.hosts.{name}: {why}"))?;
            by_name.insert(name.to_ascii_lowercase(), host);
        }
        let configured = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let candidates = configured.into_iter().chain(SYSTEM_ROOTS.map(PathBuf::from));
        Ok(Self { by_name, system_roots: candidates.into_iter().find(|path| path.is_file()) })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Host)> {
        self.by_name.iter().map(|(name, host)| (name.as_str(), host))
    }

    /// The certificates that are trusted for a host, or for any of which nothing is known. Read anew for each fetch: certificates are renewed.
    pub(super) fn roots(&self, host: Option<&str>) -> io::Result<String> {
        let mut roots = String::new();
        let own = host
            .and_then(|host| self.by_name.get(&host.to_ascii_lowercase()))
            .and_then(|host| host.authority.as_deref());
        for file in self.system_roots.as_deref().into_iter().chain(own) {
            roots.push_str(&std::fs::read_to_string(file)?);
            roots.push('\n');
        }
        Ok(roots)
    }

    /// Text for the log without any of the passwords.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let passwords = self.by_name.values().filter_map(|host| host.password.as_deref());
        passwords.fold(text.to_owned(), |text, password| text.replace(password, "***"))
    }
}

fn read(settings: &HostSettings) -> Result<Host, String> {
    let readable = |file: &Option<PathBuf>| -> Result<Option<PathBuf>, String> {
        let Some(path) = file else { return Ok(None) };
        let path = std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?;
        check_readable(&path)?;
        Ok(Some(path))
    };
    let username = settings.username.clone().unwrap_or_else(|| USERNAME_DEFAULT.to_owned());
    if username.is_empty() || username.chars().any(|c| c.is_whitespace() || c.is_control() || c == ':') {
        return Err(format!("username: {username:?} is not one word without a colon"));
    }
    let realm = settings.realm.clone();
    if realm.as_ref().is_some_and(|realm| realm.is_empty() || realm.chars().any(char::is_control)) {
        return Err("realm: one line is needed".to_owned());
    }
    Ok(Host {
        username,
        password: settings.password()?,
        realm,
        authority: readable(&settings.ca_file)?,
        ssh_key_file: readable(&settings.ssh_key_file)?,
        known_hosts_file: readable(&settings.known_hosts_file)?,
    })
}

fn check_readable(path: &Path) -> Result<(), String> {
    std::fs::File::open(path).map(|_| ()).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_trusted_for_its_own_host_only() {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, "OURS").unwrap();
        let settings = HostSettings { ca_file: Some(ca_file), ..HostSettings::default() };
        let hosts = Hosts::new(&BTreeMap::from([("git.corp.test".to_owned(), settings)])).unwrap();
        assert!(hosts.roots(Some("Git.corp.test")).unwrap().contains("OURS"));
        assert!(!hosts.roots(Some("other.test")).unwrap().contains("OURS"));
        assert!(!hosts.roots(None).unwrap().contains("OURS"));
    }

    #[test]
    fn a_password_does_not_reach_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cr3t\n").unwrap();
        let settings = HostSettings { password_file: Some(file), ..HostSettings::default() };
        let hosts = Hosts::new(&BTreeMap::from([("git.corp.test".to_owned(), settings)])).unwrap();
        assert_eq!(hosts.without_secrets("fatal: https://u:s3cr3t@h/ failed"), "fatal: https://u:***@h/ failed");
    }

    #[test]
    fn files_that_are_not_there_are_said_at_start() {
        let settings = HostSettings { ssh_key_file: Some("/nonexistent".into()), ..HostSettings::default() };
        let error = Hosts::new(&BTreeMap::from([("h.test".to_owned(), settings)])).err().unwrap();
        assert!(error.contains("fetcher.hosts.h.test") && error.contains("/nonexistent"), "{error}");
    }
}
