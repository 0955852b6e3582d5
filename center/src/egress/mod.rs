//! The one way out for commands that fetch from version control: a CONNECT proxy of our own on loopback.
//!
//! ```text
//!   go, git, hg, svn ──HTTPS_PROXY──▶ ┐
//!   ssh ──ProxyCommand──▶ egress-connect ──▶ CONNECT host:port ─▶ rules ─▶ resolve ─▶ addresses ─▶ connect, copy
//! ```
//!
//! What a module's name or a repository's redirect can make `go` ask for is not for its author to decide: names are
//! resolved here and nowhere else, an address that lies inside (loopback, private, link-local, documentation …) is refused
//! unless the configuration lists the host as internal, and the connection is made to the very address that was checked.
//!
//! Every fetch has a [`Pass`] of its own, a credential that lives as long as the fetch. What was refused or failed under it
//! is written down, so that the fetch knows why its command failed without guessing at the words of five programs.

mod address;
mod connect;
mod head;
mod parent;
mod proxy;
mod rules;
mod settings;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub(crate) use self::connect::{ConnectArguments, PASS_VARIABLE, connect};
use self::parent::Parent;
use self::rules::Rules;
pub(crate) use self::settings::EgressSettings;
use crate::sealed::Confinement;

/// Tunnels open at a time; more wait to be accepted.
const TUNNELS_MAX: usize = 512;

/// What went wrong under one pass.
type Incidents = Arc<Mutex<Vec<Incident>>>;
/// The passes that are valid, by their secrets.
type Passes = Arc<Mutex<HashMap<String, Incidents>>>;

/// The proxy. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Egress {
    address: SocketAddr,
    confinement: Confinement,
    passes: Passes,
    accepting: tokio::task::AbortHandle,
}

/// Why a connection did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incident {
    /// The rules forbid it; the text names the host and what to set.
    Refused(String),
    /// The host cannot be resolved or reached.
    Unreachable(String),
    /// The host does not answer in time.
    TimedOut(String),
}

/// The right to use the proxy, for one fetch. It cannot be written to a log.
pub(crate) struct Pass {
    secret: String,
    address: SocketAddr,
    incidents: Incidents,
    passes: Passes,
}

impl Egress {
    /// Binds a free port of loopback and accepts on the runtime from which this is called.
    pub(crate) fn start(settings: &EgressSettings) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let rules = Rules::new(settings).map_err(std::io::Error::other)?;
        let passes = Passes::default();
        let parent = Parent::new(settings).map_err(std::io::Error::other)?;
        let places = Arc::new(Semaphore::new(TUNNELS_MAX));
        let proxy = proxy::Proxy { rules, parent, passes: Arc::clone(&passes), places };
        let accepting = tokio::spawn(Arc::new(proxy).accept(listener)).abort_handle();
        Ok(Self { address, confinement: settings.confinement, passes, accepting })
    }

    /// Whether commands may be run that the kernel does not keep to this proxy.
    pub(crate) const fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// A pass for one fetch.
    pub(crate) fn pass(&self) -> Pass {
        let secret = hex::encode(rand::random::<[u8; 16]>());
        let incidents = Incidents::default();
        self.passes.lock().insert(secret.clone(), Arc::clone(&incidents));
        Pass { secret, address: self.address, incidents, passes: Arc::clone(&self.passes) }
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Pass {
    /// For `HTTPS_PROXY` and its like.
    pub(crate) fn proxy_url(&self) -> String {
        format!("http://{USER}:{}@{}", self.secret, self.address)
    }

    /// Where the proxy listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The user's name at the proxy.
    pub(crate) const fn user() -> &'static str {
        USER
    }

    /// The password at the proxy.
    pub(crate) fn password(&self) -> &str {
        &self.secret
    }

    /// For [`PASS_VARIABLE`], from which `egress-connect` takes the proxy's address and the credential.
    pub(crate) fn variable(&self) -> String {
        format!("{} {}", self.address, self.secret)
    }

    /// What went wrong so far.
    pub(crate) fn incidents(&self) -> Vec<Incident> {
        self.incidents.lock().clone()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.passes.lock().remove(&self.secret);
    }
}

/// The user's name: the secret alone says who it is.
const USER: &str = "fetch";

#[cfg(test)]
mod tests;
