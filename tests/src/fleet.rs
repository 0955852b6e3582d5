//! One center, several edges and syncers, and Redis between them: for what only shows among many.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::change::ChangeId;
use tempfile::TempDir;

use crate::cluster::{listen, make, ready, url};
use crate::process::{Process, ProcessSpec};
use crate::{BuiltModule, ClusterBuilder, RedisServer, Reply, Web, until_some};

/// How long the center may take to say where its log is.
const ANSWER: Duration = Duration::from_secs(30);

/// Running servers. Everything ends, and every file goes, when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    /// The edges.
    pub edges: Vec<FleetEdge>,
    /// The syncers; none without Redis.
    pub syncers: Vec<Process>,
    /// Redis, where there are syncers.
    pub redis: Option<RedisServer>,
    /// The center.
    pub center: Process,
    center_address: String,
    center_web: Web,
    local: Web,
    token: String,
    dir: TempDir,
}

/// One edge of a fleet.
#[derive(Debug)]
pub struct FleetEdge {
    /// Its process.
    pub process: Process,
    /// Its name in Redis.
    pub id: String,
    address: String,
    admin_address: String,
    web: Web,
    admin: Web,
    data: PathBuf,
}

impl Fleet {
    /// Starts as many as are asked for and waits until all are ready; without a syncer there is no Redis.
    ///
    /// # Panics
    /// When a binary is missing, ends, or is not ready in time.
    pub async fn start(builder: ClusterBuilder, edges: usize, syncers: usize) -> Self {
        let dir =
            tempfile::Builder::new().prefix("modtier-fleet-").tempdir().expect("the temporary directory is writable");
        let root = dir.path();
        let redis = if syncers == 0 { None } else { Some(RedisServer::start(&make(root, "redis")).await) };
        let redis_url = redis.as_ref().map(RedisServer::url);
        let token = hex::encode(rand::random::<[u8; 16]>());
        let (mut center, at_center) = Process::spawn_announced(builder.center_spec(root, &token)).await;
        center.spec_mut().set_env("MODTIER_CENTER_LISTEN", &listen(&at_center));
        let center_address = url(&listen(&at_center));
        ready("center", &center_address, &mut center).await;
        let syncers = match &redis_url {
            Some(redis) => (0..syncers).map(|number| syncer(&builder, root, number, &center_address, redis)).collect(),
            None => Vec::new(),
        };
        // All at once: each takes a while to open its database.
        let spawned: Vec<_> = (0..edges)
            .map(|number| spawn_edge(&builder, root, number, &center_address, redis_url.as_deref()))
            .collect();
        // A client is dear to make: one each is made, and copied.
        let (center_web, local) = (Web::new(&center_address), Web::new(&repository(&center_address, "golang-local")));
        let mut fleet =
            Self { edges: Vec::new(), syncers, redis, center, center_address, center_web, local, token, dir };
        for (number, process) in spawned.into_iter().enumerate() {
            let edge = FleetEdge::of(process, number, fleet.dir.path()).await;
            fleet.edges.push(edge);
        }
        fleet
    }

    /// Requests to the center's root.
    pub fn center_web(&self) -> Web {
        self.center_web.clone()
    }

    /// Requests to one of the center's repositories.
    pub fn repository_web(&self, name: &str) -> Web {
        Web::new(&repository(&self.center_address, name))
    }

    /// Requests to `golang-local`.
    pub fn local(&self) -> &Web {
        &self.local
    }

    /// A token that may do everything.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where everything lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Publishes to `golang-local`; the answer is for the test to judge.
    pub async fn publish(&self, module: &BuiltModule) -> Result<Reply, String> {
        self.local.put(&module.zip_path(), Some(&self.token), module.zip.clone()).await
    }

    /// The newest record of the center's log.
    ///
    /// # Panics
    /// When the center does not say it in time.
    pub async fn head(&self) -> ChangeId {
        let web = &self.center_web;
        until_some("the center says where its log is", ANSWER, async || {
            let reply = web.try_get("api/v1/repos/golang-virtual/changes?limit=1").await.ok()?;
            reply.header("x-change-head").parse().ok()
        })
        .await
    }

    /// Kills the center and starts it where it was, without anything it held: its log begins a new epoch.
    pub async fn restart_center_empty(&mut self) {
        self.center.kill9();
        let data = self.dir.path().join("center");
        fs::remove_dir_all(&data).expect("the center's data can be removed");
        self.center.restart();
        self.center.announced().await;
        ready("center", &self.center_address, &mut self.center).await;
    }

    /// Kills Redis and starts it where it was, without anything it held.
    ///
    /// # Panics
    /// When there is none.
    pub async fn restart_redis_empty(&mut self) {
        let dir = self.dir.path().join("redis");
        self.redis.as_mut().expect("the fleet has Redis").restart_empty(&dir).await;
    }
}

impl FleetEdge {
    async fn of(mut process: Process, number: usize, root: &Path) -> Self {
        let announced = process.announced().await;
        let admin = announced.admin.clone().expect("the edge announces its admin listener");
        // A restart must be found where it was.
        process.spec_mut().set_env("MODTIER_EDGE_LISTEN", &listen(&announced));
        process.spec_mut().set_env("MODTIER_EDGE_ADMIN", &admin);
        let id = name(number);
        let (address, admin_address) = (url(&listen(&announced)), url(&admin));
        let (web, admin) = (Web::new(&address), Web::new(&admin_address));
        let data = root.join(&id).join("edge");
        let mut edge = Self { process, id, address, admin_address, web, admin, data };
        edge.ready().await;
        edge
    }

    /// Requests to it.
    pub fn web(&self) -> &Web {
        &self.web
    }

    /// `http://host:port` that it serves at.
    pub fn goproxy(&self) -> &str {
        &self.address
    }

    /// Requests to its admin listener.
    pub fn admin_web(&self) -> &Web {
        &self.admin
    }

    /// The last change that it has applied, if it answers.
    pub async fn cursor(&self) -> Option<ChangeId> {
        let reply = self.admin.try_get("api/v1/sync").await.ok().filter(|reply| reply.status == 200)?;
        reply.json()["cursor"].as_str()?.parse().ok()
    }

    /// Starts it again where it was, after its end or a kill of this call, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.process.restart();
        self.process.announced().await;
        self.ready().await;
    }

    /// Kills it and copies its data to `to`.
    ///
    /// # Panics
    /// When the copy cannot be made.
    pub fn kill_and_save(&mut self, to: &Path) {
        self.process.kill9();
        let _ = fs::remove_dir_all(to);
        copy(&self.data, to);
    }

    /// Kills it and puts the data at `from` in the place of its own; without one it has none.
    ///
    /// # Panics
    /// When the copy cannot be made.
    pub fn kill_and_put_back(&mut self, from: Option<&Path>) {
        self.process.kill9();
        fs::remove_dir_all(&self.data).expect("the edge's data can be removed");
        match from {
            Some(from) => copy(from, &self.data),
            None => fs::create_dir(&self.data).expect("the test's folder is writable"),
        }
    }

    async fn ready(&mut self) {
        ready(&self.id, &self.admin_address, &mut self.process).await;
    }
}

fn repository(center: &str, name: &str) -> String {
    format!("{center}/api/go/{name}")
}

fn name(number: usize) -> String {
    format!("edge-{number}")
}

fn spawn_edge(builder: &ClusterBuilder, root: &Path, number: usize, center: &str, redis: Option<&str>) -> Process {
    let id = name(number);
    let spec = builder.edge_spec(&make(root, &id), center, redis).env("MODTIER_EDGE_EDGE_ID", &id);
    Process::spawn(spec.announcing())
}

fn syncer(builder: &ClusterBuilder, root: &Path, number: usize, center: &str, redis: &str) -> Process {
    let spec: ProcessSpec = builder.syncer_spec(&make(root, &format!("syncer-{number}")), center, "", Some(redis));
    Process::spawn(spec.announcing())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the test's folder is writable");
    for entry in fs::read_dir(from).expect("the folder to copy is there") {
        let entry = entry.expect("the folder to copy can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else if from.is_file() {
            // Not the socket of a hand-over.
            fs::copy(&from, &to).expect("a file can be copied");
        }
    }
}
