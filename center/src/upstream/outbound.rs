//! What a center shows of itself to the servers that it asks, and whom it trusts: by exact host.
//!
//! A credential is chosen anew for every request and every redirect by the host that is asked then, so none ever follows a
//! redirect to another host. Nor does one go over plain HTTP when the first request went over TLS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::client::{ClientOptions, TlsFiles, http_client, http_client_with};
use shared::config::Period;

use super::breaker::BreakerPolicy;
use super::netrc;

/// How other servers are asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OutboundSettings {
    /// Credentials, certificates and authorities by `host` or `host:port`. They are used for exactly that host.
    pub(crate) hosts: BTreeMap<String, HostSettings>,
    /// A `.netrc` file for hosts that are not named in `outbound.hosts`.
    pub(crate) netrc_file: Option<PathBuf>,
    /// When a server that fails is left alone.
    pub(crate) breaker: BreakerSettings,
}

/// One host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostSettings {
    /// User name for HTTP Basic.
    pub(crate) username: String,
    /// Password for HTTP Basic. Better in a file.
    pub(crate) password: String,
    /// File with the password for HTTP Basic.
    pub(crate) password_file: Option<PathBuf>,
    /// Token for `Authorization: Bearer`. Better in a file.
    pub(crate) token: String,
    /// File with the token for `Authorization: Bearer`.
    pub(crate) token_file: Option<PathBuf>,
    /// PEM file with the certificate chain that is shown to the host.
    pub(crate) certificate_file: Option<PathBuf>,
    /// PEM file with the private key of that certificate.
    pub(crate) key_file: Option<PathBuf>,
    /// PEM file with the authorities that sign the host's certificate, trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// When a server that fails is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BreakerSettings {
    /// Failures in a row after which a server is left alone.
    pub(crate) failures: u32,
    /// For how long at first; twice as long after each failed trial.
    pub(crate) open: Period,
    /// For how long at most.
    pub(crate) open_max: Period,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 5, open: Period::secs(30), open_max: Period::secs(300) }
    }
}

impl OutboundSettings {
    /// Whether files are named that may have changed though no setting has.
    pub(crate) fn has_files(&self) -> bool {
        self.netrc_file.is_some() || !self.hosts.is_empty()
    }
}

/// The same with its files read.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    credentials: BTreeMap<String, HeaderValue>,
    tls: BTreeMap<String, TlsFiles>,
    breaker: BreakerSettings,
}

/// HTTP clients by the certificates that their hosts need.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    any: reqwest::Client,
    by_host: BTreeMap<String, reqwest::Client>,
}

impl Outbound {
    /// Reads the files. The message names the key, and no secret.
    pub(crate) fn read(settings: &OutboundSettings) -> Result<Self, String> {
        let mut outbound = Self { breaker: settings.breaker.clone(), ..Self::default() };
        if let Some(path) = &settings.netrc_file {
            let text =
                String::from_utf8_lossy(&read(path).map_err(|why| format!("outbound.netrc_file: {why}"))?).into_owned();
            for machine in netrc::parse(&text) {
                let header = basic(&machine.login, &machine.password)?;
                // The first one of a host counts, as for curl.
                outbound.credentials.entry(machine.host.unwrap_or_default()).or_insert(header);
            }
        }
        for (host, settings) in &settings.hosts {
            let wrong = |why: String| format!("outbound.hosts.{host}: {why}");
            let host = host_name(host).map_err(wrong)?;
            if let Some(header) = settings.authorization().map_err(wrong)? {
                outbound.credentials.insert(host.clone(), header);
            }
            if let Some(files) = settings.tls_files().map_err(wrong)? {
                http_client_with(ClientOptions::default(), &files)
                    .map_err(|error| wrong(format!("certificate_file, key_file or ca_file: {error}")))?;
                outbound.tls.insert(host, files);
            }
        }
        Ok(outbound)
    }

    /// The clients for requests with these options.
    pub(crate) fn clients(&self, options: ClientOptions) -> Result<Clients, String> {
        let failed = |error: reqwest::Error| format!("no HTTP client: {error}");
        let by_host = self.tls.iter().map(|(host, files)| Ok((host.clone(), http_client_with(options, files)?)));
        Ok(Clients {
            any: http_client(options).map_err(failed)?,
            by_host: by_host.collect::<Result<_, _>>().map_err(failed)?,
        })
    }

    /// What to send as `Authorization` to a URL.
    pub(crate) fn authorization(&self, url: &Url) -> Option<&HeaderValue> {
        by_host(&self.credentials, url)
    }

    /// When a server that fails is left alone.
    pub(crate) fn breaker(&self) -> BreakerPolicy {
        let BreakerSettings { failures, open, open_max } = &self.breaker;
        BreakerPolicy { failures: (*failures).max(1), open: open.get(), open_max: open_max.get().max(open.get()) }
    }
}

impl Clients {
    /// The client for a URL.
    pub(crate) fn of(&self, url: &Url) -> &reqwest::Client {
        by_host(&self.by_host, url).unwrap_or(&self.any)
    }
}

impl HostSettings {
    fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let password = secret("password", &self.password, self.password_file.as_deref())?;
        let token = secret("token", &self.token, self.token_file.as_deref())?;
        match (password, token) {
            (Some(_), Some(_)) => Err("there is both a password and a token".to_owned()),
            (Some(password), None) => basic(&self.username, &password).map(Some),
            (None, Some(token)) => sensitive(&format!("Bearer {token}")).map(Some),
            (None, None) if self.username.is_empty() => Ok(None),
            (None, None) => Err("username: there is no password".to_owned()),
        }
    }

    fn tls_files(&self) -> Result<Option<TlsFiles>, String> {
        let pem = |key: &str, file: &Option<PathBuf>| {
            file.as_deref().map(|path| read(path).map_err(|why| format!("{key}: {why}"))).transpose()
        };
        let chain = pem("certificate_file", &self.certificate_file)?;
        let key = pem("key_file", &self.key_file)?;
        let authorities = pem("ca_file", &self.ca_file)?;
        let identity = match (chain, key) {
            (Some(chain), Some(key)) => Some([chain, b"\n".to_vec(), key].concat()),
            (None, None) => None,
            _ => return Err("certificate_file and key_file belong together".to_owned()),
        };
        let files = TlsFiles { identity, authorities };
        Ok((files != TlsFiles::default()).then_some(files))
    }
}

/// A value by `host:port` or else by `host`.
fn by_host<'m, T>(map: &'m BTreeMap<String, T>, url: &Url) -> Option<&'m T> {
    let host = url.host_str()?;
    let with_port = url.port_or_known_default().and_then(|port| map.get(&format!("{host}:{port}")));
    with_port.or_else(|| map.get(host))
}

/// A host as URLs spell it.
fn host_name(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no host and no host:port");
    if text.contains(['/', '@', '?', '#']) {
        return Err(wrong());
    }
    // A port of its own scheme a URL would swallow.
    let url = Url::parse(&format!("none://{text}")).map_err(|_| wrong())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?.to_ascii_lowercase();
    Ok(url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, String> {
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A header that is never shown.
fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "a credential holds what no header can".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn secret(key: &str, given: &str, file: Option<&Path>) -> Result<Option<String>, String> {
    match (given, file) {
        ("", None) => Ok(None),
        (given, None) => Ok(Some(given.to_owned())),
        ("", Some(path)) => {
            let bytes = read(path).map_err(|why| format!("{key}_file: {why}"))?;
            Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
        }
        (_, Some(_)) => Err(format!("{key}: there is a {key}_file too")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The time after which a client of these gives up for good; the time-outs that count are shorter.
pub(super) fn options(connect: Duration, longest: Duration) -> ClientOptions {
    ClientOptions { connect_timeout: connect, read_timeout: longest + Duration::from_secs(5), redirects_max: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hosts: &[(&str, HostSettings)]) -> OutboundSettings {
        let hosts = hosts.iter().map(|(name, host)| ((*name).to_owned(), host.clone())).collect();
        OutboundSettings { hosts, ..OutboundSettings::default() }
    }

    fn sent(outbound: &Outbound, url: &str) -> Option<String> {
        outbound.authorization(&Url::parse(url).unwrap()).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_credential_goes_to_its_own_host_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (netrc_file, token_file) = (dir.path().join("netrc"), dir.path().join("token"));
        std::fs::write(&netrc_file, "machine c.test login bob password secret\nmachine a.test login x password y\n")
            .unwrap();
        std::fs::write(&token_file, "t0ken\n").unwrap();
        let a = HostSettings { username: "u".into(), password: "p".into(), ..HostSettings::default() };
        let b = HostSettings { token_file: Some(token_file), ..HostSettings::default() };
        let settings =
            OutboundSettings { netrc_file: Some(netrc_file), ..settings(&[("a.test", a), ("B.test:8443", b)]) };
        let outbound = Outbound::read(&settings).unwrap();
        for (url, expected) in [
            ("https://a.test/x", Some("Basic dTpw")),
            ("https://a.test:444/x", Some("Basic dTpw")),
            ("https://sub.a.test/", None),
            ("https://a.test.evil.test/", None),
            ("https://b.test:8443/", Some("Bearer t0ken")),
            ("https://b.test/", None),
            ("https://c.test/", Some("Basic Ym9iOnNlY3JldA==")),
            ("https://d.test/", None),
        ] {
            assert_eq!(sent(&outbound, url).as_deref(), expected, "{url}");
        }
        assert!(!format!("{outbound:?}").contains("t0ken"), "{outbound:?}");
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let missing = || Some(PathBuf::from("/nonexistent/file"));
        let none = HostSettings::default;
        for (name, host, part) in [
            ("a.test/x", none(), "no host"),
            ("", none(), "no host"),
            ("a.test", HostSettings { username: "u".into(), ..none() }, "username"),
            ("a.test", HostSettings { password: "p".into(), token: "t".into(), ..none() }, "both"),
            ("a.test", HostSettings { password_file: missing(), ..none() }, "password_file"),
            ("a.test", HostSettings { ca_file: missing(), ..none() }, "ca_file"),
            ("a.test", HostSettings { key_file: missing(), ..none() }, "key_file"),
            ("a.test", HostSettings { token: "a\nb".into(), ..none() }, "credential"),
        ] {
            let error = Outbound::read(&settings(&[(name, host)])).expect_err(part);
            assert!(error.contains(part) && error.starts_with("outbound.hosts."), "{error}");
        }
    }
}
