//! The HTTP client that the tiers speak to each other and to upstreams with.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// What differs between the clients of the tiers.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// How long a TCP and TLS handshake may take.
    pub connect_timeout: Duration,
    /// How long a response may go without a byte, from the request on.
    pub read_timeout: Duration,
    /// How many redirects are followed; 0 hands a redirect to the caller.
    pub redirects_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), read_timeout: Duration::from_secs(30), redirects_max: 0 }
    }
}

/// Builds a client with rustls on ring and the system's certificate store (and `SSL_CERT_FILE`).
///
/// Bodies are never decompressed: artefacts are passed on as the bytes they are. Proxy variables of the environment are not
/// read: which upstream a tier talks to is for its configuration to say.
///
/// # Errors
/// When the system's certificate store cannot be read.
pub fn http_client(options: ClientOptions) -> Result<reqwest::Client, reqwest::Error> {
    http_client_with(options, &TlsFiles::default())
}

/// What a client shows of itself and trusts in addition, as the bytes of PEM files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// A certificate chain followed by its private key.
    pub identity: Option<Vec<u8>>,
    /// Certificates of authorities, trusted beside those of the system's store.
    pub authorities: Option<Vec<u8>>,
}

impl std::fmt::Debug for TlsFiles {
    /// Without the bytes: one of them is a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (identity, authorities) = (self.identity.is_some(), self.authorities.is_some());
        f.debug_struct("TlsFiles").field("identity", &identity).field("authorities", &authorities).finish()
    }
}

/// As [`http_client`], for servers that want to see a certificate or have an authority of their own.
///
/// # Errors
/// When the system's certificate store cannot be read, or the bytes are no PEM files of the right kind.
pub fn http_client_with(options: ClientOptions, tls: &TlsFiles) -> Result<reqwest::Client, reqwest::Error> {
    crate::tls::install_provider();
    let redirects = match options.redirects_max {
        0 => reqwest::redirect::Policy::none(),
        max => reqwest::redirect::Policy::limited(max),
    };
    let mut builder = reqwest::Client::builder();
    if let Some(pem) = &tls.identity {
        builder = builder.identity(reqwest::Identity::from_pem(pem)?);
    }
    if let Some(pem) = &tls.authorities {
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?);
    }
    builder
        .user_agent(concat!("modtier/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .redirect(redirects)
        .no_proxy()
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_mins(1))
        .build()
}

/// How long an answer asks to be left alone: `Retry-After`, in seconds or until a date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = SystemTime::from(OffsetDateTime::parse(text, &Rfc2822).ok()?);
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let at = OffsetDateTime::now_utc() + Duration::from_mins(2);
        let wait = of(&at.format(&Rfc2822).unwrap().replace("+0000", "GMT")).unwrap();
        assert!((110..=120).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(of("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
