//! The addresses that clients come to, bound before anything starts.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use crate::config::Config;
use crate::handover::Listeners;

/// Connections that the kernel may queue: a burst of `go` commands must not run into retried handshakes.
const BACKLOG: u32 = 4096;

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

/// Binds `address`; `setting` is what the operator changes when it cannot be had. Needs a runtime's context.
pub(crate) fn bind(address: &str, setting: &str) -> Result<TcpListener, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("cannot listen on {address}: {error}: free the address or change {setting} (port 0 takes a free one)")
    };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(|error| wrong(&error))?.collect();
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no such address");
    for address in addresses {
        match bind_one(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    let last = match last.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another program".to_owned(),
        _ => last.to_string(),
    };
    Err(wrong(&last))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}
