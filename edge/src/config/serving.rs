//! How clients are listened to, and what one of them may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};

/// HTTP/2 without TLS, for a mesh whose sidecars encrypt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct H2cSettings {
    /// Address of the listener for HTTP/2 with prior knowledge; empty: none.
    pub(crate) listen: String,
}

/// What one client may take.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServingSettings {
    /// Connections of one client address (IPv6: of one /64); further ones are closed at once. 0: no limit, as behind a load
    /// balancer, whose address is every client's.
    pub(crate) connections_per_client_max: usize,
    /// How long a TLS handshake may take.
    pub(crate) tls_handshake: Period,
    /// Largest request header, first line included; a larger one is 431.
    pub(crate) header_bytes_max: ByteSize,
    /// Most header lines of a request; more are 431.
    pub(crate) headers_max: usize,
    /// Longest request target; a longer one is 414.
    pub(crate) target_bytes_max: ByteSize,
    /// Largest request body that is read away; a larger one is 413. No request here needs one.
    pub(crate) request_body_bytes_max: ByteSize,
    /// Bytes a second that a client must take while there are bytes for it.
    pub(crate) client_rate_min: ByteSize,
    /// Time over which `client_rate_min` is measured; only time in which the client kept us waiting counts.
    pub(crate) client_rate_window: Period,
    /// Streams that one HTTP/2 connection may have open at a time.
    pub(crate) http2_streams_max: u32,
    /// File descriptors kept free of client connections, for centers, files and the administration. Where few are allowed
    /// (`ulimit -n`), `limits.connections_max` is lowered so that they stay free.
    pub(crate) descriptors_reserved: u64,
}

impl Default for ServingSettings {
    fn default() -> Self {
        Self {
            connections_per_client_max: 2_000,
            tls_handshake: Period::secs(10),
            header_bytes_max: ByteSize::kib(32),
            headers_max: 100,
            target_bytes_max: ByteSize::kib(8),
            request_body_bytes_max: ByteSize::kib(256),
            client_rate_min: ByteSize::kib(1),
            client_rate_window: Period::secs(30),
            http2_streams_max: 100,
            descriptors_reserved: 512,
        }
    }
}

impl ServingSettings {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.headers_max == 0 || self.headers_max > 200 {
            return Err("serving.headers_max must be from 1 to 200".into());
        }
        let header_bytes = self.header_bytes_max.bytes();
        if !(1024..=512 * 1024).contains(&header_bytes) || self.target_bytes_max.bytes() > header_bytes {
            return Err(
                "serving.header_bytes_max must be from 1KiB to 512KiB, and target_bytes_max not above it".into()
            );
        }
        if self.client_rate_min.bytes() == 0 || self.client_rate_window.get().is_zero() {
            return Err("serving.client_rate_min and client_rate_window must be above 0".into());
        }
        if self.http2_streams_max == 0 || self.http2_streams_max > 10_000 {
            return Err("serving.http2_streams_max must be from 1 to 10000".into());
        }
        Ok(())
    }
}
