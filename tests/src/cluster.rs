//! Center, edge, syncer and Redis as real processes, each test with its own.

mod builder;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

pub use self::builder::ClusterBuilder;
use crate::deadline::until;
use crate::process::{Announcement, Process, ProcessSpec};
use crate::{BuiltModule, Origin, RedisServer, Reply, Web};

/// How long a server may take from its start until it is ready: the machine may be compiling beside.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Running servers. Everything ends, and every file goes, when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The edge's process.
    pub edge: Process,
    /// The center's process.
    pub center: Process,
    /// The syncer's process, where there is Redis.
    pub syncer: Option<Process>,
    /// Redis, where it was asked for.
    pub redis: Option<RedisServer>,
    edge_address: String,
    edge_admin: String,
    edge_tls: Option<String>,
    edge_h2c: Option<String>,
    center_address: String,
    center_tls: Option<String>,
    center_figures: Option<String>,
    token: String,
    dir: TempDir,
}

impl Cluster {
    /// A cluster whose remote repository is this GOPROXY server.
    pub fn with_upstream(upstream: &str) -> ClusterBuilder {
        ClusterBuilder::new(upstream)
    }

    /// A cluster whose remote repository is this origin.
    pub fn of(origin: &Origin) -> ClusterBuilder {
        Self::with_upstream(&origin.url())
    }

    /// What a developer puts into GOPROXY.
    pub fn goproxy(&self) -> String {
        self.edge_address.clone()
    }

    /// `https://host:port` of the edge, which was told to listen with TLS.
    ///
    /// # Panics
    /// When it was not.
    pub fn tls_url(&self) -> String {
        format!("https://{}", self.edge_tls.as_deref().expect("the edge was given an address for TLS"))
    }

    /// `http://host:port` of the edge's listener for HTTP/2 without TLS.
    ///
    /// # Panics
    /// When it was given none.
    pub fn h2c_url(&self) -> String {
        url(self.edge_h2c.as_deref().expect("the edge was given an address for h2c"))
    }

    /// Requests to the edge.
    pub fn edge_web(&self) -> Web {
        Web::new(&self.edge_address)
    }

    /// Requests to the edge's admin listener.
    pub fn admin_web(&self) -> Web {
        Web::new(&self.edge_admin)
    }

    /// Requests to the center's root.
    pub fn center_web(&self) -> Web {
        Web::new(&self.center_address)
    }

    /// Requests to one of the center's repositories.
    pub fn repository_web(&self, repository: &str) -> Web {
        Web::new(&format!("{}/api/go/{repository}", self.center_address))
    }

    /// `http://host:port` of the center.
    pub fn center_url(&self) -> &str {
        &self.center_address
    }

    /// `https://host:port` of the center, which was told to listen with TLS.
    ///
    /// # Panics
    /// When it was not.
    pub fn center_tls_url(&self) -> String {
        format!("https://{}", self.center_tls.as_deref().expect("the center was given an address for TLS"))
    }

    /// Requests to the center's listener for figures.
    ///
    /// # Panics
    /// When it was given none.
    pub fn figures_web(&self) -> Web {
        Web::new(&url(self.center_figures.as_deref().expect("the center was given an address for figures")))
    }

    /// A token that may do everything.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where a server keeps its data: `edge`, `center`, `redis`.
    pub fn data(&self, server: &str) -> PathBuf {
        self.dir.path().join(server)
    }

    /// Publishes to `golang-local`; the answer is for the test to judge.
    pub async fn publish(&self, module: &BuiltModule) -> Result<Reply, String> {
        self.repository_web("golang-local").put(&module.zip_path(), Some(&self.token), module.zip.clone()).await
    }

    /// Publishes to `golang-local`.
    ///
    /// # Panics
    /// Unless the answer is 201.
    pub async fn publish_new(&self, module: &BuiltModule) {
        let reply = self.publish(module).await.unwrap_or_else(|error| panic!("PUT {}: {error}", module.query()));
        assert_eq!(reply.status, 201, "PUT {}: {}", module.query(), reply.text());
    }

    /// Waits until the edge is ready.
    pub async fn edge_ready(&mut self) {
        ready("edge", &self.edge_admin, &mut self.edge).await;
    }

    /// Waits until a new edge has compared itself with the center: until then lists that it just stored may become stale once more.
    ///
    /// # Panics
    /// When it is not in time.
    async fn edge_in_step(&self) {
        let admin = self.admin_web();
        until("the edge has compared itself with the center", READY_LIMIT, async || {
            admin.get("readyz?verbose").await.json()["sync"]["last_reconcile"].is_number()
        })
        .await;
    }

    /// Waits until the center is ready.
    pub async fn center_ready(&mut self) {
        ready("center", &self.center_address, &mut self.center).await;
    }

    /// Starts the edge again where it was, after its end or a kill of this call, and waits until it is ready.
    pub async fn restart_edge(&mut self) {
        self.edge.restart();
        self.edge.announced().await;
        self.edge_ready().await;
    }

    /// An edge that would take the place of the running one: to be changed, and spawned.
    pub fn successor(&self) -> ProcessSpec {
        self.edge.spec().clone().flag("--take-over")
    }

    /// Has a new edge take the place of the running one, and waits until it serves. The old one is returned: it finishes
    /// what it has begun.
    pub async fn hand_over_edge(&mut self) -> Process {
        let (new, _) = Process::spawn_announced(self.successor()).await;
        std::mem::replace(&mut self.edge, new)
    }

    /// A second syncer beside the one that there is.
    ///
    /// # Panics
    /// When there is none, or it does not start.
    pub async fn another_syncer(&self) -> Process {
        let spec = self.syncer.as_ref().expect("the cluster has a syncer").spec().clone();
        Process::spawn_announced(spec.named("syncer-2")).await.0
    }

    /// How changes reach the edge: `stream`, `feed` or `down`.
    pub async fn channel(&self) -> String {
        self.admin_web().get("api/v1/sync").await.json()["channel"].as_str().unwrap_or_default().to_owned()
    }

    /// A variable for the center from its next start on.
    pub fn set_center_env(&mut self, name: &str, value: &str) {
        self.center.spec_mut().set_env(name, value);
    }

    /// A center that would take the place of the running one: to be changed, and spawned.
    pub fn center_successor(&self) -> ProcessSpec {
        self.center.spec().clone().flag("--take-over")
    }

    /// Has a new center take the place of the running one, and waits until it serves. The old one is returned: it finishes what it
    /// has begun.
    pub async fn hand_over_center(&mut self) -> Process {
        self.replace_center(self.center_successor()).await
    }

    /// The same by a center that was changed.
    pub async fn replace_center(&mut self, successor: ProcessSpec) -> Process {
        let (new, _) = Process::spawn_announced(successor).await;
        std::mem::replace(&mut self.center, new)
    }

    /// `http://host:port` of the edge's admin listener.
    pub fn admin_url(&self) -> &str {
        &self.edge_admin
    }

    /// Starts the center again where it was, after its end or a kill of this call, and waits until it is ready.
    pub async fn restart_center(&mut self) {
        self.center.restart();
        self.center.announced().await;
        self.center_ready().await;
    }
}

pub(crate) async fn ready(name: &str, base: &str, process: &mut Process) {
    let web = Web::new(base);
    until(&format!("{name} is ready"), READY_LIMIT, async || {
        if let Some(status) = process.exited() {
            panic!("{name} ended with {status}:\n{}", process.log());
        }
        web.try_get("readyz").await.is_ok_and(|reply| reply.status == 200)
    })
    .await;
}

pub(crate) fn listen(announcement: &Announcement) -> String {
    announcement.listen.clone().expect("the server announces its address")
}

pub(crate) fn url(address: &str) -> String {
    format!("http://{address}")
}

pub(crate) fn make(root: &Path, name: &str) -> PathBuf {
    let dir = root.join(name);
    std::fs::create_dir_all(&dir).expect("the test's folder is writable");
    dir
}
