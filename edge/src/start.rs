//! Building the edge from its settings, running it, and stopping it.
//!
//! Both addresses are bound and the data directory is opened before anything is served: whatever is wrong with them is
//! one line on stderr and exit code 1.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use shared::fill::Flights;
use shared::handover::{Listeners, Predecessor};
use shared::tls::Tls;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::access_log::AccessLog;
use crate::app::App;
use crate::cache::{Cache, CacheError};
use crate::config::Config;
use crate::invalidation::{SyncState, follow};
use crate::limit::Limits;
use crate::metrics::Metrics;
use crate::popularity::Popularity;
use crate::reload::Reloads;
use crate::respond::Signature;
use crate::serve::Tally;
use crate::server::{self, Bound, Descriptors, Entrance, Service};
use crate::upstream::{Upstream, probe};
use crate::{admin, runtime};

/// How long a write to the disk that is under way may take when the edge stops.
const STORAGE_GRACE: Duration = Duration::from_secs(2);

/// A running edge.
pub(crate) struct Edge {
    /// Its state.
    pub(crate) app: Arc<App>,
    /// Where it serves, and what is spoken there.
    pub(crate) addresses: Vec<(Entrance, SocketAddr)>,
    /// Where its administration listens.
    pub(crate) admin: SocketAddr,
    /// All that it listens at, for the edge that takes its place.
    pub(crate) listeners: Arc<Mutex<Listeners>>,
    behind: Runtime,
    serving: Vec<JoinHandle<()>>,
}

/// Where an edge's settings came from, and whose place it takes.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The file of the settings, for reloading.
    pub(crate) config_file: Option<PathBuf>,
    /// The running edge that hands over to this one.
    pub(crate) predecessor: Option<Predecessor>,
    /// How long the database may stay locked by an edge that has just died.
    pub(crate) lock_patience: Duration,
}

impl Edge {
    /// Binds, opens and starts to serve.
    #[cfg(test)]
    pub(crate) fn start(config: Config) -> Result<Self, String> {
        Self::start_from(config, Origin::default())
    }

    /// Binds, opens and starts to serve; a predecessor is asked for its database only once everything is bound.
    pub(crate) fn start_from(config: Config, origin: Origin) -> Result<Self, String> {
        let Origin { config_file, mut predecessor, lock_patience } = origin;
        let behind = runtime::behind().map_err(|error| format!("cannot start threads: {error}"))?;
        let mut listeners = predecessor.as_mut().map_or_else(Listeners::default, Predecessor::listeners);
        let (bound, admin_listener) = {
            let _context = behind.enter();
            let bound = Bound::all(&config, &mut listeners)?;
            (bound, listeners.open("admin", &config.admin, "MODTIER_EDGE_ADMIN")?)
        };
        let addresses = bound.iter().map(|bound| Ok((bound.entrance, bound.address()?)));
        let addresses = addresses.collect::<Result<Vec<_>, String>>()?;
        let admin = local_address(&admin_listener)?;
        let tls = certificate(&config, &bound)?;
        let admin_access = admin::Access::open(&config)?;
        if let Some(predecessor) = &mut predecessor {
            predecessor.release()?;
        }
        let app = Arc::new(build(config, config_file, &behind, lock_patience)?);
        if let Some(predecessor) = predecessor {
            predecessor.replace()?;
        }
        behind.spawn(follow(Arc::clone(&app)));
        behind.spawn(probe(Arc::clone(&app)));
        behind.spawn({
            let app = Arc::clone(&app);
            async move {
                if let Err(error) = admin::serve(app, admin_access, admin_listener).await {
                    tracing::error!(%error, "the administration listener stopped");
                }
            }
        });
        if let Some(tls) = &tls {
            behind.spawn(server::watch(Arc::clone(&app), Arc::clone(tls)));
        }
        let service = Arc::new(Service::new(Arc::clone(&app), tls));
        let serving = server::start(&service, bound, app.config().limits.serving_threads)
            .map_err(|error| format!("cannot start serving threads: {error}"))?;
        Ok(Self { app, addresses, admin, listeners: Arc::new(Mutex::new(listeners)), behind, serving })
    }

    /// The address where this is spoken, if it is.
    pub(crate) fn address(&self, entrance: Entrance) -> Option<SocketAddr> {
        self.addresses.iter().find(|(spoken, _)| *spoken == entrance).map(|(_, address)| *address)
    }

    /// Waits for `future` on the runtime behind.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.behind.block_on(future)
    }

    /// Runs `future` on the runtime behind.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.behind.spawn(future);
    }

    /// Begins to end: `/readyz` says so at once, and the service accepts no more after `drain_delay`. Running responses
    /// may go on for `grace`.
    pub(crate) fn leave(&self, grace: Duration, drain_delay: Duration) {
        // Nobody may listen, and then there is nobody to be told.
        self.app.leaving.send_replace(Some(grace));
        if !drain_delay.is_zero() {
            let mut leaving = self.app.leaving.subscribe();
            let hurried = leaving.wait_for(|grace| grace.is_some_and(|grace| grace.is_zero()));
            let _ = self.behind.block_on(async { tokio::time::timeout(drain_delay, hurried).await });
        }
        self.app.stopping.send_replace(true);
        // As long as one handle on a listening socket is open, the kernel takes connections for it.
        *self.listeners.lock() = Listeners::default();
    }

    /// Stops accepting, lets running responses end within the grace, ends fills, closes the cache.
    pub(crate) fn stop(self) {
        let grace = *self.app.leaving.borrow();
        self.leave(grace.unwrap_or_else(|| self.app.config().limits.shutdown_grace.get()), Duration::ZERO);
        for thread in self.serving {
            if thread.join().is_err() {
                tracing::error!("a serving thread had panicked");
            }
        }
        self.app.stopped.send_replace(true);
        // Fills that still run are given up; what they had spooled is removed here or at the next start.
        self.behind.shutdown_timeout(STORAGE_GRACE);
        self.app.cache.close();
        // The last hold on it: lines of the access log that wait are written now.
        drop(self.app);
    }
}

/// The certificate, where there is a listener that needs one.
fn certificate(config: &Config, bound: &[Bound]) -> Result<Option<Arc<Tls>>, String> {
    let wanted = bound.iter().any(|bound| bound.entrance == Entrance::Tls);
    let load = || Tls::load(&config.tls).map_err(|error| format!("{error} (MODTIER_EDGE_TLS_CERTIFICATE, _KEY)"));
    wanted.then(load).transpose().map(|tls| tls.map(Arc::new))
}

fn build(
    config: Config,
    config_file: Option<PathBuf>,
    behind: &Runtime,
    lock_patience: Duration,
) -> Result<App, String> {
    let data_dir = config.data_dir.clone();
    let unusable = |error: &dyn std::fmt::Display| {
        format!("data directory {}: {error}: make it writable or change MODTIER_EDGE_DATA_DIR", data_dir.display())
    };
    fs::create_dir_all(&data_dir).map_err(|error| unusable(&error))?;
    let edge_id = edge_id(&config).map_err(|error| unusable(&error))?;
    let signature = Signature::of(&edge_id).map_err(|error| format!("edge_id: {edge_id:?}: {error}"))?;
    let cache = open_cache(&config, lock_patience).map(Arc::new).map_err(|error| error.to_string())?;
    let metrics = Metrics::new();
    let upstream = Upstream::new(&config, &edge_id, metrics.clone())?;
    let sync = SyncState::new(&edge_id, &config.repository, cache.cursor(&config.repository));
    Ok(App {
        flights: Flights::new(cache.spool_dir(), behind.handle().clone()),
        cache,
        upstream,
        limits: Limits::new(),
        behind: behind.handle().clone(),
        sync,
        tally: Tally::new(&metrics, &config.repository),
        popularity: Popularity::new(),
        access_log: AccessLog::start(config.log.format, metrics.access_log_lost.clone(), io::stderr()),
        metrics,
        descriptors: Descriptors::raise(),
        leaving: watch::Sender::new(None),
        stopping: watch::Sender::new(false),
        stopped: watch::Sender::new(false),
        edge_id,
        signature,
        settings: ArcSwap::from_pointee(config),
        reloads: Reloads::new(config_file),
    })
}

/// Opens the cache. A predecessor that was killed may hold its lock for another moment.
#[expect(clippy::disallowed_methods, reason = "nothing is served yet")]
fn open_cache(config: &Config, patience: Duration) -> Result<Cache, CacheError> {
    let began = Instant::now();
    loop {
        match Cache::open(config.cache_config()) {
            Err(CacheError::Open { .. }) if began.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

/// The configured name, or the one that was made up at the first start.
fn edge_id(config: &Config) -> io::Result<String> {
    if !config.edge_id.is_empty() {
        return Ok(config.edge_id.clone());
    }
    let path = config.data_dir.join("edge-id");
    match fs::read_to_string(&path) {
        Ok(kept) if !kept.trim().is_empty() => return Ok(kept.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let made_up = format!("edge-{:08x}", rand::random::<u32>());
    let mut file = tempfile::NamedTempFile::new_in(&config.data_dir)?;
    io::Write::write_all(&mut file, made_up.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(made_up)
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| format!("cannot tell the bound address: {error}"))
}

#[cfg(test)]
mod tests {
    use shared::handover::bind;
    use tokio::net::TcpStream;

    use super::*;
    use crate::testing::{Answered, Center, Proof, Reply, TestEdge};

    #[tokio::test(flavor = "multi_thread")]
    async fn an_occupied_port_is_one_line_that_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = bind(&address, "MODTIER_EDGE_LISTEN").unwrap_err();
        assert!(
            error.contains(&address) && error.contains("MODTIER_EDGE_LISTEN") && error.contains("in use"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn an_unusable_data_directory_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let config =
            Config { listen: "127.0.0.1:0".into(), admin: "127.0.0.1:0".into(), data_dir: file, ..Config::default() };
        let error = Edge::start(config).err().unwrap();
        assert!(error.starts_with("data directory ") && error.lines().count() == 1, "{error}");
    }

    #[test]
    fn the_name_of_an_edge_is_made_up_once() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        let made_up = edge_id(&config).unwrap();
        assert_eq!(edge_id(&config).unwrap(), made_up);
        assert_eq!(edge_id(&Config { edge_id: "given".into(), ..config }).unwrap(), "given");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn stopping_lets_a_running_download_end_and_then_ends_at_once() {
        let center = Center::start().await;
        let mut edge = TestEdge::start(&center, |_| {});
        let path = "example.com/a/@v/v1.0.0.zip";
        let body = vec![b'z'; 300_000];
        center.reply(path, Reply::right(body.clone(), Proof::Header));
        let gate = center.hold();
        let running = edge.client.get(edge.url(path)).send().await.unwrap();
        let (ready, service) = (edge.admin_url("readyz"), edge.service());
        assert_eq!(edge.client.get(&ready).send().await.unwrap().status(), 200);
        let client = edge.client.clone();
        let stopping = edge.stop_in_background();
        let deadline = Instant::now() + Duration::from_secs(5);
        while client.get(&ready).send().await.unwrap().status() != 503 || TcpStream::connect(service).await.is_ok() {
            assert!(Instant::now() < deadline, "it becomes unready and accepts no more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        center.release(&gate);
        assert_eq!(Answered::of(running).await.body.unwrap(), body);
        let drained = Instant::now();
        tokio::task::spawn_blocking(|| stopping.join().unwrap()).await.unwrap();
        assert!(drained.elapsed() < Duration::from_secs(3), "{:?}", drained.elapsed());
    }
}
