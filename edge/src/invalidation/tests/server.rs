//! A Redis for one test.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shared::change::{Change, ChangeId};
use tempfile::TempDir;

/// A redis-server on a socket in a directory of its own.
pub(super) struct Redis {
    process: Child,
    dir: TempDir,
}

impl Redis {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "redis.sock"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (make test does it)");
        let redis = Self { process, dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while redis.open().await.is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        redis
    }

    pub(super) fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.path().join("redis.sock").display())
    }

    pub(super) async fn open(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    pub(super) async fn run(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.exec_async(&mut self.open().await.unwrap()).await.unwrap();
    }

    /// What the relay does for a change: its entry, then its sign of life.
    pub(super) async fn relay(&self, change: &Change) {
        let mut command = redis::cmd("XADD");
        command.arg("meta:golang-virtual").arg(change.id.to_string());
        for (name, value) in change.to_fields() {
            command.arg(name).arg(value);
        }
        command.exec_async(&mut self.open().await.unwrap()).await.unwrap();
        self.alive_at(change.id).await;
    }

    pub(super) async fn alive_at(&self, head: ChangeId) {
        self.run(&["SET", "relay:golang-virtual", &head.to_string(), "EX", "60"]).await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It has nothing worth keeping, and the test's end must not wait for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
