//! An edge alone before centers that a test plays: [`crate::Origin`]s, each with faults of its own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cluster::{ready, url};
use crate::process::{Process, ProcessSpec, binary};
use crate::{Origin, Web};

/// What the edge is to be.
#[derive(Debug, Clone)]
pub struct LoneEdgeBuilder {
    centers: Vec<String>,
    env: Vec<(String, String)>,
    config: Option<String>,
}

/// A running edge. It ends, and its files go, when it is dropped.
#[derive(Debug)]
pub struct LoneEdge {
    /// Its process.
    pub process: Process,
    address: String,
    admin: String,
    dir: TempDir,
}

impl LoneEdgeBuilder {
    /// A variable for the edge.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The text of a configuration file for it; see [`LoneEdge::write_config`].
    #[must_use]
    pub fn config(mut self, yaml: &str) -> Self {
        self.config = Some(yaml.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When the binary is missing, ends, or is not ready in time.
    pub async fn start(self) -> LoneEdge {
        let dir =
            tempfile::Builder::new().prefix("modtier-edge-").tempdir().expect("the temporary directory is writable");
        let mut spec = ProcessSpec::new("edge", binary("edge"), dir.path())
            .env("MODTIER_EDGE_LISTEN", "127.0.0.1:0")
            .env("MODTIER_EDGE_ADMIN", "127.0.0.1:0")
            .env("MODTIER_EDGE_DATA_DIR", &dir.path().join("data").display().to_string())
            .env("MODTIER_EDGE_CENTERS", &self.centers.join(","));
        if let Some(config) = &self.config {
            let file = config_file(dir.path());
            std::fs::write(&file, config).expect("the test's folder is writable");
            spec = spec.arg("--config").arg(&file.display().to_string());
        }
        for (name, value) in &self.env {
            spec.set_env(name, value);
        }
        let (mut process, announced) = Process::spawn_announced(spec).await;
        let address = url(announced.listen.as_deref().expect("the edge announces its address"));
        let admin = url(announced.admin.as_deref().expect("the edge announces its admin listener"));
        ready("edge", &admin, &mut process).await;
        LoneEdge { process, address, admin, dir }
    }
}

impl LoneEdge {
    /// An edge before these centers.
    pub fn before(centers: &[&Origin]) -> LoneEdgeBuilder {
        let centers = centers.iter().map(|center| center.url()).collect();
        LoneEdgeBuilder { centers, env: Vec::new(), config: None }
    }

    /// An edge before a center that something else plays, at this URL.
    pub fn at(center: &str) -> LoneEdgeBuilder {
        LoneEdgeBuilder { centers: vec![center.to_owned()], env: Vec::new(), config: None }
    }

    /// What a developer puts into GOPROXY.
    pub fn goproxy(&self) -> String {
        self.address.clone()
    }

    /// Requests to it.
    pub fn web(&self) -> Web {
        Web::new(&self.address)
    }

    /// Requests to its admin listener.
    pub fn admin_web(&self) -> Web {
        Web::new(&self.admin)
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Replaces its configuration file, for a reload.
    ///
    /// # Panics
    /// When the folder is not writable.
    pub fn write_config(&self, yaml: &str) {
        std::fs::write(config_file(self.dir.path()), yaml).expect("the test's folder is writable");
    }
}

fn config_file(dir: &Path) -> PathBuf {
    dir.join("edge.yaml")
}
