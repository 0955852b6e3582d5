//! What a cluster is to be, and its start.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Cluster, listen, make, url};
use crate::RedisServer;
use crate::process::{Process, ProcessSpec, binary};

/// What the cluster is to be.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    upstream: String,
    verify: bool,
    sumdb_names: String,
    redis: Redis,
    center_env: Vec<(String, String)>,
    center_args: Vec<String>,
    center_under: Vec<String>,
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

impl ClusterBuilder {
    pub(super) fn new(upstream: &str) -> Self {
        Self {
            upstream: upstream.to_owned(),
            verify: false,
            sumdb_names: "off".to_owned(),
            redis: Redis::None,
            center_env: Vec::new(),
            center_args: Vec::new(),
            center_under: Vec::new(),
            edge_env: Vec::new(),
            edge_args: Vec::new(),
            syncer_env: Vec::new(),
        }
    }

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

    /// A program that starts the center and becomes it.
    #[must_use]
    pub fn center_under(mut self, words: &[&str]) -> Self {
        self.center_under = words.iter().map(|&word| word.to_owned()).collect();
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
        let under: Vec<&str> = self.center_under.iter().map(String::as_str).collect();
        if under.is_empty() { spec } else { spec.under(&under) }
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
