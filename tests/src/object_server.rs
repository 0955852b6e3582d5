//! A server of an object store of the test's own: a real one that speaks S3 over a directory.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deadline::until;
use crate::process::{Process, ProcessSpec};

/// A server with one bucket, `modtier`, in a directory of the test.
#[derive(Debug)]
pub struct ObjectServer {
    process: Process,
    port: u16,
}

impl ObjectServer {
    /// versitygw: S3 over files.
    ///
    /// # Panics
    /// When it is not installed or does not come up: no test is skipped for want of it.
    pub async fn s3(dir: &Path) -> Self {
        std::fs::create_dir_all(dir.join("modtier")).expect("the test's folder is writable");
        // It wants a number for a port, so a free one is asked of the kernel; should another take it first, ask again.
        for _ in 0..5 {
            let port = free_port();
            let spec = ProcessSpec::new("versitygw", versitygw(), dir)
                .args(&["--access", "modtier", "--secret", "modtier-secret", "--port", &format!("127.0.0.1:{port}")])
                .args(&["posix", &dir.display().to_string()]);
            let mut server = Self { process: Process::spawn(spec), port };
            if server.comes_up().await {
                return server;
            }
        }
        panic!("versitygw did not come up in five tries: see {}", dir.display());
    }

    /// `storage.blobs.url`.
    pub fn url(&self) -> &'static str {
        "s3://modtier/blobs"
    }

    /// `storage.blobs.options`.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("region", "us-east-1".to_owned()),
            ("access_key_id", "modtier".to_owned()),
            ("secret_access_key", "modtier-secret".to_owned()),
            ("allow_http", "true".to_owned()),
        ]
    }

    /// kill -9.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.process.restart();
        assert!(self.comes_up().await, "the object server did not come up again");
    }

    async fn comes_up(&mut self) -> bool {
        let address = format!("127.0.0.1:{}", self.port);
        let mut alive = true;
        until("the object server answers", Duration::from_mins(1), async || {
            if self.process.exited().is_some() {
                alive = false;
                return true;
            }
            tokio::net::TcpStream::connect(&address).await.is_ok()
        })
        .await;
        alive
    }
}

/// Where `make test` installs what the tests need and Debian has not.
pub(crate) fn tools() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.expect("there is a home directory").join("modtier/tools")
}

fn versitygw() -> PathBuf {
    let path = tools().join("bin/versitygw");
    assert!(path.exists(), "{} is not installed: run `make test`, which installs it", path.display());
    path
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a bound listener has an address").port()
}
