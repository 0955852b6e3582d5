//! Center, edge, syncer and Redis as real processes, each test with its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::deadline::until;
use crate::process::{Announcement, Process, ProcessSpec, binary};
use crate::{BuiltModule, Origin, RedisServer, Reply, Web};

/// How long a server may take from its start until it is ready: the machine may be compiling beside.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// What the cluster is to be.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    upstream: String,
    verify: bool,
    sumdb_names: String,
    redis: Redis,
    center_env: Vec<(String, String)>,
    center_args: Vec<String>,
    edge_env: Vec<(String, String)>,
    edge_args: Vec<String>,
    syncer_env: Vec<(String, String)>,
}

/// Which Redis there is.
#[derive(Debug, Clone, Copy)]
enum Redis {
    None,
    Own,
    Elsewhere,
}

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

impl ClusterBuilder {
    /// Redis and a syncer that relays to it; without this the edge follows the feed.
    #[must_use]
    pub fn with_redis(mut self) -> Self {
        self.redis = Redis::Own;
        self
    }

    /// A syncer, for a Redis of the test's own that the variables of edge and syncer name.
    #[must_use]
    pub fn with_syncer(mut self) -> Self {
        self.redis = Redis::Elsewhere;
        self
    }

    /// Whether the center proves what it fetches with the checksum database; off at first, as the origin has none.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// The names of the checksum databases that are proxied, or `off`.
    #[must_use]
    pub fn sumdb_names(mut self, names: &str) -> Self {
        names.clone_into(&mut self.sumdb_names);
        self
    }

    /// A variable for the center.
    #[must_use]
    pub fn center_env(mut self, name: &str, value: &str) -> Self {
        self.center_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An argument for the center.
    #[must_use]
    pub fn center_arg(mut self, arg: &str) -> Self {
        self.center_args.push(arg.to_owned());
        self
    }

    /// A variable for the edge.
    #[must_use]
    pub fn edge_env(mut self, name: &str, value: &str) -> Self {
        self.edge_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An argument for the edge.
    #[must_use]
    pub fn edge_arg(mut self, arg: &str) -> Self {
        self.edge_args.push(arg.to_owned());
        self
    }

    /// A variable for the syncer.
    #[must_use]
    pub fn syncer_env(mut self, name: &str, value: &str) -> Self {
        self.syncer_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts everything and waits until it is ready.
    ///
    /// # Panics
    /// When a binary is missing, ends, or is not ready in time.
    pub async fn start(self) -> Cluster {
        let dir =
            tempfile::Builder::new().prefix("modtier-test-").tempdir().expect("the temporary directory is writable");
        let root = dir.path();
        let redis = match self.redis {
            Redis::Own => Some(RedisServer::start(&make(root, "redis")).await),
            Redis::None | Redis::Elsewhere => None,
        };
        let redis_url = redis.as_ref().map(RedisServer::url);
        let token = hex::encode(rand::random::<[u8; 16]>());
        let (center, at_center) = Process::spawn_announced(self.center_spec(root, &token)).await;
        let center_address = url(&listen(&at_center));
        let (edge, at_edge) =
            Process::spawn_announced(self.edge_spec(root, &center_address, redis_url.as_deref())).await;
        let edge_admin = url(at_edge.admin.as_deref().expect("the edge announces its admin listener"));
        let syncer = match self.redis {
            Redis::Own | Redis::Elsewhere => {
                let spec = self.syncer_spec(root, &center_address, &edge_admin, redis_url.as_deref());
                Some(Process::spawn_announced(spec).await.0)
            }
            Redis::None => None,
        };
        let mut cluster = Cluster {
            edge,
            center,
            syncer,
            redis,
            edge_address: url(&listen(&at_edge)),
            edge_admin,
            edge_tls: at_edge.tls.clone(),
            edge_h2c: at_edge.h2c.clone(),
            center_address,
            center_tls: at_center.tls.clone(),
            center_figures: at_center.admin.clone(),
            token,
            dir,
        };
        // A restart must find its neighbours where they were.
        cluster.center.spec_mut().set_env("MODTIER_CENTER_LISTEN", &listen(&at_center));
        cluster.edge.spec_mut().set_env("MODTIER_EDGE_LISTEN", &listen(&at_edge));
        cluster.edge.spec_mut().set_env("MODTIER_EDGE_ADMIN", at_edge.admin.as_deref().unwrap_or_default());
        cluster.center_ready().await;
        cluster.edge_ready().await;
        cluster.edge_in_step().await;
        cluster
    }

    pub(crate) fn center_spec(&self, root: &Path, token: &str) -> ProcessSpec {
        let tokens = root.join("tokens.yaml");
        let hashed = hex::encode(Sha256::digest(token));
        let text = format!(
            "tokens:\n  - name: test\n    sha256: {hashed}\n    grants: [read, write, delete, annotate, admin]\n"
        );
        std::fs::write(&tokens, text).expect("the test's folder is writable");
        let mut spec = ProcessSpec::new("center", binary("center"), root)
            .env("MODTIER_CENTER_LISTEN", "127.0.0.1:0")
            .env("MODTIER_CENTER_DATA_DIR", &make(root, "center").display().to_string())
            .env("MODTIER_CENTER_SUMDB_NAMES", &self.sumdb_names)
            .env("MODTIER_CENTER_SUMDB_VERIFY", if self.verify { "on" } else { "off" })
            .env("MODTIER_CENTER_ACCESS_TOKENS_FILE", &tokens.display().to_string())
            .env("MODTIER_UPSTREAM", &self.upstream);
        for arg in &self.center_args {
            spec = spec.arg(arg);
        }
        for (name, value) in &self.center_env {
            spec.set_env(name, value);
        }
        spec
    }

    pub(crate) fn edge_spec(&self, root: &Path, center: &str, redis: Option<&str>) -> ProcessSpec {
        let mut spec = ProcessSpec::new("edge", binary("edge"), root)
            .env("MODTIER_EDGE_LISTEN", "127.0.0.1:0")
            .env("MODTIER_EDGE_ADMIN", "127.0.0.1:0")
            .env("MODTIER_EDGE_DATA_DIR", &make(root, "edge").display().to_string())
            .env("MODTIER_EDGE_CENTERS", center);
        if let Some(redis) = redis {
            spec.set_env("MODTIER_EDGE_REDIS_URL", redis);
        }
        for arg in &self.edge_args {
            spec = spec.arg(arg);
        }
        for (name, value) in &self.edge_env {
            spec.set_env(name, value);
        }
        spec
    }

    pub(crate) fn syncer_spec(&self, root: &Path, center: &str, edge_admin: &str, redis: Option<&str>) -> ProcessSpec {
        let mut spec = ProcessSpec::new("syncer", binary("syncer"), root)
            .arg("run")
            .env("MODTIER_SYNCER_ADMIN", "127.0.0.1:0")
            .env("MODTIER_SYNCER_CENTER", center)
            .env("MODTIER_SYNCER_EDGES", edge_admin);
        if let Some(redis) = redis {
            spec.set_env("MODTIER_SYNCER_REDIS_URL", redis);
        }
        for (name, value) in &self.syncer_env {
            spec.set_env(name, value);
        }
        spec
    }
}

impl Cluster {
    /// A cluster whose remote repository is this GOPROXY server.
    pub fn with_upstream(upstream: &str) -> ClusterBuilder {
        ClusterBuilder {
            upstream: upstream.to_owned(),
            verify: false,
            sumdb_names: "off".to_owned(),
            redis: Redis::None,
            center_env: Vec::new(),
            center_args: Vec::new(),
            edge_env: Vec::new(),
            edge_args: Vec::new(),
            syncer_env: Vec::new(),
        }
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
