//! The addresses that clients come to, bound before anything starts.

use std::net::{SocketAddr, TcpListener};

use shared::handover::Listeners;

use crate::config::Config;

/// What is spoken at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1 or HTTP/2 over TLS, as the client likes.
    Tls,
    /// HTTP/2 with prior knowledge, without TLS.
    H2c,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Bound {
    /// What is spoken there.
    pub(crate) entrance: Entrance,
    /// The socket; it does not block.
    pub(crate) listener: TcpListener,
}

impl Entrance {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Tls, Self::H2c];

    /// Its name in log, figures and hand-over.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "listen",
            Self::Tls => "tls",
            Self::H2c => "h2c",
        }
    }

    /// The configured address; empty: not wanted.
    pub(crate) fn address(self, config: &Config) -> &str {
        match self {
            Self::Plain => &config.listen,
            Self::Tls => &config.tls.listen,
            Self::H2c => &config.h2c.listen,
        }
    }

    /// What the operator changes when the address cannot be had.
    fn setting(self) -> &'static str {
        match self {
            Self::Plain => "MODTIER_EDGE_LISTEN",
            Self::Tls => "MODTIER_EDGE_TLS_LISTEN",
            Self::H2c => "MODTIER_EDGE_H2C_LISTEN",
        }
    }
}

impl Bound {
    /// Every configured listener: the predecessor's where it has one there, else a new one. Needs a runtime's context.
    pub(crate) fn all(config: &Config, listeners: &mut Listeners) -> Result<Vec<Self>, String> {
        let wanted = Entrance::ALL.into_iter().filter(|entrance| !entrance.address(config).is_empty());
        wanted
            .map(|entrance| {
                let listener = listeners.open(entrance.name(), entrance.address(config), entrance.setting())?;
                Ok(Self { entrance, listener })
            })
            .collect()
    }

    /// The bound address.
    pub(crate) fn address(&self) -> Result<SocketAddr, String> {
        self.listener.local_addr().map_err(|error| format!("cannot tell the bound address: {error}"))
    }
}
