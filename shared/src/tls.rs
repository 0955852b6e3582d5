//! The certificate: read from files, read again when they change, refused when it is not usable.
//!
//! A new one counts for new handshakes; open connections go on. What cannot be used (half written, without its key, out of
//! date) is said in the log, and the old one stays.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::parse_x509_certificate;

/// How often the files are looked at. What was seen to change is read when it has stayed the same for as long.
const LOOK: Duration = Duration::from_secs(1);

/// HTTP/1.1 and HTTP/2 over TLS 1.2 and 1.3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// Address of the TLS listener; empty: none.
    pub listen: String,
    /// PEM file with the certificate and what leads to its authority. Read again when it changes.
    pub certificate: PathBuf,
    /// PEM file with the certificate's private key. Read again when it changes.
    pub key: PathBuf,
    /// Whether `Strict-Transport-Security` says `preload`.
    pub hsts_preload: bool,
}

impl TlsSettings {
    /// What the types cannot say.
    ///
    /// # Errors
    /// Names the missing keys.
    pub fn check(&self) -> Result<(), String> {
        let files = !self.certificate.as_os_str().is_empty() && !self.key.as_os_str().is_empty();
        if !self.listen.is_empty() && !files {
            return Err("tls.listen needs tls.certificate and tls.key".into());
        }
        Ok(())
    }
}

/// The value of `Strict-Transport-Security`, for two years; whether browsers may have it built in is the operator's word.
pub const fn hsts(preload: bool) -> &'static str {
    if preload { "max-age=63072000; includeSubDomains; preload" } else { "max-age=63072000; includeSubDomains" }
}

/// What TLS clients are met with.
#[derive(Debug)]
pub struct Tls(ArcSwap<Loaded>);

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// Unix time, seconds.
    expires: i64,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen(Vec<(u64, i64, i64, u64)>);

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// Names the file that cannot be used, and why.
    pub fn load(settings: &TlsSettings) -> Result<Self, String> {
        Ok(Self(ArcSwap::from_pointee(load(settings)?)))
    }

    /// When the certificate expires, Unix time in seconds.
    pub fn expires(&self) -> i64 {
        self.0.load().expires
    }

    /// The handshake with a client. How long that may take is the caller's to say.
    ///
    /// # Errors
    /// What ended the handshake.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.0.load().config);
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Reads both files again; whatever is wrong with them changes nothing.
    fn reload(&self, settings: &TlsSettings) -> Result<(), String> {
        let loaded = load(settings)?;
        if loaded.expires <= now() {
            return Err(format!("{}: the certificate has expired", settings.certificate.display()));
        }
        self.0.store(Arc::new(loaded));
        Ok(())
    }
}

/// Has clients of this process use ring. A second installation is refused, and the first one serves as well.
pub fn install_provider() {
    let _ = ring::default_provider().install_default();
}

/// Whether the client chose HTTP/2.
pub fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Reads the certificate again whenever its files, or the settings that name them, change; `told` hears what came of it: when
/// the new one expires (Unix time in seconds), or why it is refused. Runs until it is dropped.
pub async fn watch(
    tls: Arc<Tls>,
    settings: impl Fn() -> TlsSettings + Send,
    mut told: impl FnMut(Result<i64, String>) + Send,
) {
    let mut used = (settings(), Seen::of(&settings()));
    let mut before = used.clone();
    loop {
        tokio::time::sleep(LOOK).await;
        let settings = settings();
        let now = (settings.clone(), Seen::of(&settings));
        // Both files are being written, perhaps: they are read when they are at rest.
        let at_rest = now == before;
        before = now.clone();
        if now == used || !at_rest {
            continue;
        }
        used = now;
        match tls.reload(&settings) {
            Ok(()) => {
                tracing::info!(expires = tls.expires(), "the certificate was replaced");
                told(Ok(tls.expires()));
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate is refused, the old one stays");
                told(Err(error));
            }
        }
    }
}

impl Seen {
    /// A file that is not there is a state as well.
    fn of(settings: &TlsSettings) -> Self {
        let state = |path: &Path| {
            let data = fs::metadata(path).ok()?;
            Some((data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
        };
        Self([&settings.certificate, &settings.key].map(|path| state(path).unwrap_or_default()).to_vec())
    }
}

fn load(settings: &TlsSettings) -> Result<Loaded, String> {
    let of = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(&settings.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of(&settings.certificate, &error))?;
    let leaf = chain.first().ok_or_else(|| of(&settings.certificate, &"no certificate in it"))?;
    let (_, parsed) = parse_x509_certificate(leaf).map_err(|error| of(&settings.certificate, &error))?;
    let expires = parsed.validity().not_after.timestamp();
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| of(&settings.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| {
            format!("{} does not go with {}: {error}", settings.certificate.display(), settings.key.display())
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(|error| format!("no key for session tickets: {error}"))?;
    Ok(Loaded { config: Arc::new(config), expires })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
