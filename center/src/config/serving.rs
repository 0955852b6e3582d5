//! How clients are served, and where figures are shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};

/// What one client may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServingSettings {
    /// How long a TLS handshake may take.
    pub(crate) tls_handshake: Period,
    /// Bytes a second that a client must take while there are bytes for it.
    pub(crate) client_rate_min: ByteSize,
    /// Time over which `client_rate_min` is measured; only time in which the client kept us waiting counts.
    pub(crate) client_rate_window: Period,
}

impl Default for ServingSettings {
    fn default() -> Self {
        Self {
            tls_handshake: Period::secs(10),
            client_rate_min: ByteSize::kib(1),
            client_rate_window: Period::secs(30),
        }
    }
}

impl ServingSettings {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.client_rate_min.bytes() == 0 || self.client_rate_window.get().is_zero() {
            return Err("serving.client_rate_min and client_rate_window must be above 0".into());
        }
        Ok(())
    }
}

/// Who sees `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MetricsSettings {
    /// Address of a listener for `/metrics`, `/healthz` and `/readyz` alone; `/metrics` is then nowhere else. Empty: none.
    pub(crate) listen: String,
    /// Whether `/metrics` on the listeners of the service needs a token with `admin`.
    pub(crate) needs_token: bool,
}
