//! The proxy's side of a connection: CONNECT, the pass, the rules, and then bytes both ways.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::address::is_public;
use super::head::{parse, read_head};
use super::parent::Parent;
use super::rules::{Route, Rules, split};
use super::{Incident, Passes};

/// How long a client may take to say what it wants.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a name may take to be resolved, and an address to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a client may ask again on one connection: once without, once with its credential, and some patience.
const REQUESTS_MAX: usize = 4;
/// What to wait when the system has no descriptor left: the next accept would fail at once too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Proxy {
    pub(super) rules: Rules,
    pub(super) parent: Option<Parent>,
    pub(super) passes: Passes,
    pub(super) places: Arc<Semaphore>,
}

impl Proxy {
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let this = Arc::clone(&self);
                    tokio::spawn(async move {
                        let _place = place;
                        if let Err(error) = this.converse(stream).await {
                            tracing::debug!(%error, "a tunnel ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the egress proxy cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(&self, mut client: TcpStream) -> io::Result<()> {
        for _ in 0..REQUESTS_MAX {
            let head = timeout(HEAD_TIMEOUT, read_head(&mut client)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            let Some(asked) = parse(&head) else {
                return answer(&mut client, "400 Bad Request", "").await;
            };
            let incidents = asked.secret.and_then(|secret| self.passes.lock().get(&secret).cloned());
            let Some(incidents) = incidents else {
                answer(
                    &mut client,
                    "407 Proxy Authentication Required",
                    "Proxy-Authenticate: Basic realm=\"modtier\"\r\n",
                )
                .await?;
                continue;
            };
            let (incident, status) = match self.open(&asked.method, &asked.target).await {
                Ok(server) => {
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                    return copy(client, server).await;
                }
                Err(incident) => {
                    let status = match incident {
                        Incident::Refused(_) => "403 Forbidden",
                        Incident::Unreachable(_) => "502 Bad Gateway",
                        Incident::TimedOut(_) => "504 Gateway Timeout",
                    };
                    (incident, status)
                }
            };
            tracing::warn!(target: "audit", target = asked.target, ?incident, "a fetch could not connect");
            incidents.lock().push(incident);
            return answer(&mut client, status, "").await;
        }
        Ok(())
    }

    /// A connection to the target, or why there is none.
    async fn open(&self, method: &str, target: &str) -> Result<TcpStream, Incident> {
        if method != "CONNECT" {
            return Err(Incident::Refused(format!("{target}: only https and ssh are let through")));
        }
        let Ok((host, Some(port))) = split(target) else {
            return Err(Incident::Refused(format!("{target:?} is not host:port")));
        };
        let route = self.rules.route(&host, port).map_err(Incident::Refused)?;
        if let Some(parent) = self.parent.as_ref().filter(|parent| route.is_outside && parent.leads_to(&host)) {
            return parent.open(&route.host, route.port, CONNECT_TIMEOUT).await;
        }
        let addresses = resolve(&host, &route).await?;
        let mut last = None;
        for address in addresses {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(Incident::Unreachable(format!("{host}:{port}: {error}"))),
                Err(_) => last = Some(Incident::TimedOut(format!("{host}:{port} does not answer"))),
            }
        }
        Err(last.unwrap_or_else(|| Incident::Unreachable(format!("{host}:{port} has no address"))))
    }
}

/// The addresses of a route that may be connected to, in the order of the name service.
async fn resolve(host: &str, route: &Route) -> Result<Vec<SocketAddr>, Incident> {
    let found = timeout(CONNECT_TIMEOUT, lookup_host((route.host.as_str(), route.port))).await;
    let found: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(Incident::Unreachable(format!("{host} cannot be resolved: {error}"))),
        Err(_) => return Err(Incident::TimedOut(format!("{host} cannot be resolved in time"))),
    };
    let has_any = !found.is_empty();
    let allowed: Vec<SocketAddr> =
        found.into_iter().filter(|address| route.internal || is_public(address.ip())).collect();
    if has_any && allowed.is_empty() {
        return Err(Incident::Refused(format!("{host} has an internal address and is not on egress.internal_hosts")));
    }
    Ok(allowed)
}

async fn answer(client: &mut TcpStream, status: &str, header: &str) -> io::Result<()> {
    client.write_all(format!("HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\n\r\n").as_bytes()).await
}

async fn copy(mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
