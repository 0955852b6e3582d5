//! One thread accepts for all listeners and deals the connections out evenly to the serving threads.
//!
//! A connection stays on the thread it was given to. If every serving thread accepted from the same socket, the first one
//! awake would take a whole burst, and a thread would stand idle beside one that has all connections; sockets of their own
//! (`SO_REUSEPORT`) would spread by hash, unevenly for some dozens of connections, and those queued at a socket that closes
//! in a hand-over would be reset. So there is one queue, and each connection goes to the thread that has the fewest.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::descriptors::{BACK_OFF, Seldom};
use super::listen::{Bound, Entrance};
use super::seats::Seat;
use super::{Service, converse, told_to_stop};
use crate::runtime;

/// A connection that was just accepted.
pub(super) struct Arrival {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) entrance: Entrance,
    pub(super) held: Held,
}

/// What a connection takes up until it ends.
#[expect(dead_code, reason = "held for their ends alone")]
pub(super) struct Held(Seat, Counted);

/// A serving thread, as the accepting one sees it.
struct Lane {
    /// Bounded by the connections that there may be: each holds its seat.
    arrivals: UnboundedSender<Arrival>,
    open: Arc<AtomicUsize>,
}

/// One of a lane's connections.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts `threads` serving threads (0: one for each core) and the accepting one. They end when the edge is told to stop
/// and the last connection is done or the grace is over.
pub(crate) fn start(service: &Arc<Service>, bound: Vec<Bound>, threads: usize) -> io::Result<Vec<JoinHandle<()>>> {
    let count = if threads == 0 { runtime::cores() } else { threads };
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| unbounded_channel()).unzip();
    let lanes: Vec<_> = senders.into_iter().map(|arrivals| Lane { arrivals, open: Arc::default() }).collect();
    let mut handles = runtime::serving(receivers, |arrivals| lane(Arc::clone(service), arrivals))?;
    let accepting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let service = Arc::clone(service);
    handles.push(std::thread::Builder::new().name("edge-accept".into()).spawn(move || {
        accepting.block_on(async move {
            let lanes = Arc::new(lanes);
            let mut loops = JoinSet::new();
            for bound in bound {
                loops.spawn(accept(Arc::clone(&service), bound, Arc::clone(&lanes)));
            }
            loops.join_all().await;
        });
    })?);
    Ok(handles)
}

/// Accepts until told to stop.
async fn accept(service: Arc<Service>, bound: Bound, lanes: Arc<Vec<Lane>>) {
    let entrance = bound.entrance;
    let listener = match TcpListener::from_std(bound.listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, listener = entrance.name(), "cannot accept");
            return;
        }
    };
    let mut stopping = service.app.stopping.subscribe();
    let mut complaint = Seldom::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = told_to_stop(&mut stopping) => {
                if service.app.stays().await {
                    continue;
                }
                break;
            }
            accepted = poll_fn(|cx| service.app.descriptors.poll_accept(&listener, cx)) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => seat(&service, &lanes, entrance, stream, peer),
            // The client left while it was queued.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Descriptors running out, above all. Clients wait in the queue until there are some.
                service.app.metrics.serving.accept_failures.inc();
                if complaint.now() {
                    tracing::warn!(%error, listener = entrance.name(), "a connection could not be accepted");
                }
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Gives a connection to the thread that has the fewest, or closes it when there are too many.
fn seat(service: &Service, lanes: &[Lane], entrance: Entrance, stream: TcpStream, peer: SocketAddr) {
    let seat = match service.seat(peer.ip()) {
        Ok(seat) => seat,
        Err(full) => return service.app.metrics.serving.refused_connection(full.reason()),
    };
    // From here on it belongs to another thread's runtime.
    let stream = match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "a connection ended as it was accepted"),
    };
    if let Some(lane) = emptiest(lanes) {
        let arrival = Arrival { stream, peer, entrance, held: Held(seat, Counted::new(&lane.open)) };
        // Only a thread that panicked takes no more, and then the client is told by the connection's end.
        let _ = lane.arrivals.send(arrival);
    }
}

/// The thread with the fewest connections.
fn emptiest(lanes: &[Lane]) -> Option<&Lane> {
    lanes.iter().min_by_key(|lane| lane.open.load(Ordering::Relaxed))
}

/// A serving thread: serves what it is given, until there is no more to come and the last connection is done.
async fn lane(service: Arc<Service>, mut arrivals: UnboundedReceiver<Arrival>) {
    let connections = TaskTracker::new();
    while let Some(arrival) = arrivals.recv().await {
        connections.spawn(converse(Arc::clone(&service), arrival));
    }
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = service.app.grace_over() => {
            tracing::warn!(connections = connections.len(), "stopped in the middle of responses: the grace is over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_evenly_also_after_some_have_ended() {
        let lanes: Vec<_> = (0..3).map(|_| Lane { arrivals: unbounded_channel().0, open: Arc::default() }).collect();
        let open = || lanes.iter().map(|lane| lane.open.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let connect = || Counted::new(&emptiest(&lanes).unwrap().open);
        let mut all: Vec<_> = (0..60).map(|_| connect()).collect();
        assert_eq!(open(), [20, 20, 20]);
        all.retain(|counted| !Arc::ptr_eq(&counted.0, &lanes[1].open));
        assert_eq!(open(), [20, 0, 20]);
        all.extend((0..26).map(|_| connect()));
        assert_eq!(open(), [22, 22, 22]);
    }
}
