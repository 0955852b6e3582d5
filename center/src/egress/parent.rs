//! A company's own proxy, through which alone the internet is reached: asked by CONNECT in its turn.
//!
//! It resolves names, so their addresses are not known here: what it lets through is for its own rules, and for `egress.hosts`.
//! Addresses that are written as such, in any of the forms that resolvers take for one, and the names of loopback are judged here.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use shared::request::decode_percent;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::is_public;
use super::head::read_head;
use super::{EgressSettings, Incident};

/// The proxy, and for which hosts it is not asked.
#[derive(Debug)]
pub(super) struct Parent {
    host: String,
    port: u16,
    user: String,
    password_file: Option<PathBuf>,
    /// In small letters, without a leading dot.
    exempt: Vec<String>,
}

impl Parent {
    /// The configured one, if there is one.
    pub(super) fn new(settings: &EgressSettings) -> Result<Option<Self>, String> {
        let Some(text) = &settings.parent else {
            return match (&settings.parent_password_file, settings.no_proxy.is_empty()) {
                (None, true) => Ok(None),
                (Some(_), _) | (None, false) => {
                    Err("egress.parent: is needed for parent_password_file and no_proxy".to_owned())
                }
            };
        };
        let wrong = || format!("egress.parent: {text:?} is not http://[user@]host[:port]");
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.path() == "/").ok_or_else(wrong)?;
        if url.password().is_some() {
            return Err("egress.parent: a password belongs into the file of egress.parent_password_file".to_owned());
        }
        let host = url.host_str().ok_or_else(wrong)?;
        let exempt = settings.no_proxy.iter().map(|host| host.trim_start_matches('.').to_ascii_lowercase());
        Ok(Some(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_or_known_default().ok_or_else(wrong)?,
            // A URL has it encoded; the proxy compares it as it is.
            user: decode_percent(url.username()).ok_or_else(wrong)?,
            password_file: settings.parent_password_file.clone(),
            exempt: exempt.collect(),
        }))
    }

    /// Whether a host is reached by it: not one of `no_proxy`, nor what lies below such a name.
    pub(super) fn leads_to(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        !self.exempt.iter().any(|name| {
            name == "*" || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// A tunnel to the host, or why there is none.
    pub(super) async fn open(&self, host: &str, port: u16, patience: Duration) -> Result<TcpStream, Incident> {
        if !may_be_public(host) {
            let why = format!("{host} has an internal address and is not on egress.internal_hosts");
            return Err(Incident::Refused(why));
        }
        let too_slow = |_| Incident::TimedOut("the parent proxy does not answer".to_owned());
        let (stream, head) = timeout(patience, self.ask(host, port)).await.map_err(too_slow)?.map_err(|error| {
            tracing::warn!(%error, "the parent proxy cannot be asked");
            Incident::Unreachable("the parent proxy cannot be reached".to_owned())
        })?;
        match head.split(' ').nth(1).unwrap_or_default() {
            "200" => Ok(stream),
            status @ ("401" | "403" | "407") => {
                Err(Incident::Refused(format!("{host}:{port}: the parent proxy refuses it ({status})")))
            }
            "504" => Err(Incident::TimedOut(format!("{host}:{port} does not answer, says the parent proxy"))),
            status => Err(Incident::Unreachable(format!("{host}:{port}: the parent proxy says {status:?}"))),
        }
    }

    async fn ask(&self, host: &str, port: u16) -> io::Result<(TcpStream, String)> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let target = format!("{host}:{port}");
        let mut credential = String::new();
        if !self.user.is_empty() || self.password_file.is_some() {
            // Read anew each time: it may have been renewed.
            let password = match &self.password_file {
                Some(file) => tokio::fs::read_to_string(file).await?,
                None => String::new(),
            };
            let encoded = STANDARD.encode(format!("{}:{}", self.user, password.trim()));
            credential = format!("Proxy-Authorization: Basic {encoded}\r\n");
        }
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credential}\r\n");
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes()).await?;
        let head = read_head(&mut stream).await?;
        Ok((stream, String::from_utf8_lossy(&head).into_owned()))
    }
}

/// Whether a host may lie outside, as far as that can be told without resolving it: no name of loopback, and no address of an
/// inner network, be it written as `127.1`, `0x7f000001` or `2130706433` (WHATWG URL, "host parsing").
fn may_be_public(host: &str) -> bool {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let Ok(url) = Url::parse(&format!("http://{host}/")) else { return false };
    let Some(host) = url.host_str() else { return false };
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return is_public(address);
    }
    let name = host.trim_end_matches('.');
    name != "localhost" && !name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(parent: Option<&str>, no_proxy: &[&str]) -> EgressSettings {
        let no_proxy = no_proxy.iter().map(|&host| host.to_owned()).collect();
        EgressSettings { parent: parent.map(str::to_owned), no_proxy, ..EgressSettings::default() }
    }

    #[test]
    fn names_that_are_exempt_are_reached_without_it() {
        let parent = Parent::new(&settings(Some("http://proxy.test:3128"), &["corp.test", ".Other.test"])).unwrap();
        let parent = parent.unwrap();
        for (host, leads) in [
            ("corp.test", false),
            ("git.Corp.test", false),
            ("notcorp.test", true),
            ("other.test", false),
            ("a.other.test", false),
            ("example.com", true),
        ] {
            assert_eq!(parent.leads_to(host), leads, "{host}");
        }
        let none = Parent::new(&settings(Some("http://proxy.test:3128"), &["*"])).unwrap().unwrap();
        assert!(!none.leads_to("example.com"));
    }

    #[test]
    fn inner_addresses_are_known_in_every_form() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "2130706433",
            "10.1",
            "::1",
            "::ffff:10.0.0.1",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "1.2.3.999",
        ] {
            assert!(!may_be_public(host), "{host}");
        }
        for host in ["8.8.8.8", "0x08080808", "2606:4700::1111", "example.com", "git_hub.example.com", "notlocalhost"] {
            assert!(may_be_public(host), "{host}");
        }
    }

    #[test]
    fn a_users_name_is_sent_as_it_is() {
        let parent = Parent::new(&settings(Some("http://corp%5Cj%40ne@proxy.test:3128"), &[])).unwrap().unwrap();
        assert_eq!(parent.user, "corp\\j@ne");
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for parent in ["proxy.test:3128", "https://proxy.test", "http://u:secret@proxy.test", "http://proxy.test/path"]
        {
            let error = Parent::new(&settings(Some(parent), &[])).unwrap_err();
            assert!(error.starts_with("egress.parent"), "{error}");
        }
        assert!(Parent::new(&settings(None, &["corp.test"])).is_err());
        assert!(Parent::new(&settings(None, &[])).unwrap().is_none());
    }
}
