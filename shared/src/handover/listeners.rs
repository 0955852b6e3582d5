//! The listening sockets of a server, by name.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

/// Connections that the kernel may queue: a burst of `go` commands must not run into retried handshakes.
const BACKLOG: u32 = 4096;

/// Listening sockets: those that a predecessor gave, and those that this process uses.
#[derive(Debug, Default)]
pub struct Listeners {
    given: BTreeMap<String, TcpListener>,
    used: Vec<(String, TcpListener)>,
}

impl Listeners {
    /// With what a predecessor gave.
    pub(super) fn given(given: impl IntoIterator<Item = (String, TcpListener)>) -> Self {
        Self { given: given.into_iter().collect(), used: Vec::new() }
    }

    /// The socket with this name: the predecessor's if it listens where `address` says, else a new one. `setting` is what
    /// the operator changes when it cannot be had. Needs a runtime's context.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn open(&mut self, name: &str, address: &str, setting: &str) -> Result<TcpListener, String> {
        let listener = match self.given.remove(name).filter(|given| listens_at(given, address)) {
            Some(given) => given,
            None => bind(address, setting)?,
        };
        let shared = listener.try_clone().and_then(|shared| {
            listener.set_nonblocking(true)?;
            Ok(shared)
        });
        let shared = shared.map_err(|error| format!("cannot share the listening socket of {address}: {error}"))?;
        self.used.push((name.to_owned(), shared));
        Ok(listener)
    }

    /// What this process listens at, to be handed to the next one.
    pub(super) fn used(&self) -> &[(String, TcpListener)] {
        &self.used
    }
}

fn listens_at(listener: &TcpListener, address: &str) -> bool {
    let (Ok(here), Ok(wanted)) = (listener.local_addr(), address.to_socket_addrs()) else { return false };
    // Port 0 asks for any port, so the one that clients know already is the best.
    let is_it = |wanted: SocketAddr| wanted == here || (wanted.port() == 0 && wanted.ip() == here.ip());
    wanted.into_iter().any(is_it)
}

/// Binds `address`; `setting` is what the operator changes when it cannot be had. Needs a runtime's context.
///
/// # Errors
/// One line that says what to do.
pub fn bind(address: &str, setting: &str) -> Result<TcpListener, String> {
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
