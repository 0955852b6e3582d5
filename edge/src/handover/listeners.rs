//! The listening sockets of an edge, by name.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

use crate::server::bind;

/// Listening sockets: those that a predecessor gave, and those that this edge uses.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
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
    pub(crate) fn open(&mut self, name: &str, address: &str, setting: &str) -> Result<TcpListener, String> {
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

    /// What this edge listens at, to be handed to the next one.
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
