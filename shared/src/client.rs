//! The HTTP client that the tiers speak to each other and to upstreams with.

use std::time::Duration;

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
    // A second installation in the same process is refused, and the first one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = match options.redirects_max {
        0 => reqwest::redirect::Policy::none(),
        max => reqwest::redirect::Policy::limited(max),
    };
    reqwest::Client::builder()
        .user_agent(concat!("modtier/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .redirect(redirects)
        .no_proxy()
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_mins(1))
        .build()
}
