//! Who may use the administration listener.

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;

/// Who may use the administration listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdminAccess {
    /// File of hashed tokens, read again when it changes. With one, `/api/v1/…` needs a token that grants `admin`; without one,
    /// `admin` must be an address of this machine only. Health, readiness, version and metrics never need a token.
    pub(crate) tokens_file: Option<PathBuf>,
}

impl Config {
    /// A listener that others reach must ask who they are.
    pub(super) fn check_admin(&self) -> Result<(), String> {
        if self.admin_access.tokens_file.is_some() || is_loopback(&self.admin) {
            return Ok(());
        }
        let admin = &self.admin;
        Err(format!(
            "admin: {admin:?} can be reached from elsewhere: name a file of tokens (admin_access.tokens_file) or listen on 127.0.0.1"
        ))
    }
}

/// Whether only this machine can reach `address` (`host:port`).
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // Another name may lead anywhere.
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_own_addresses_are_loopback() {
        for address in ["127.0.0.1:9091", "127.8.8.8:0", "[::1]:9091", "localhost:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["0.0.0.0:9091", "[::]:9091", ":9091", "10.0.0.1:1", "edge:9091", "[::ffff:10.0.0.1]:1"] {
            assert!(!is_loopback(address), "{address}");
        }
    }
}
