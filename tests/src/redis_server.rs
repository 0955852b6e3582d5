//! A redis-server of the test's own.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::deadline::until;
use crate::process::{Process, ProcessSpec};

/// A running redis-server. It keeps its data over a kill (`appendonly`, synced always).
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
}

impl RedisServer {
    /// Starts one with its data in `dir` and waits until it answers.
    ///
    /// # Panics
    /// When redis-server is not installed or does not come up: no test is skipped for want of it.
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, |_| Vec::new()).await
    }

    /// One with more words on its command line, made for its port.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    pub async fn start_with(dir: &Path, more: impl Fn(u16) -> Vec<String>) -> Self {
        Self::launch(dir, &[], more).await
    }

    /// One that another program starts and becomes, by these words.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    pub async fn start_under(dir: &Path, words: &[&str]) -> Self {
        Self::launch(dir, words, |_| Vec::new()).await
    }

    async fn launch(dir: &Path, under: &[&str], more: impl Fn(u16) -> Vec<String>) -> Self {
        // Redis takes port 0 for "none", so a free port is asked of the kernel; should another take it first, ask again.
        for _ in 0..5 {
            let port = free_port();
            let mut spec = ProcessSpec::new("redis", "redis-server".into(), dir)
                .arg("--port")
                .arg(&port.to_string())
                .args(&["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"])
                .arg(&dir.display().to_string());
            for word in more(port) {
                spec = spec.arg(&word);
            }
            if !under.is_empty() {
                spec = spec.under(under);
            }
            let mut server = Self { process: Process::spawn(spec), port };
            if server.comes_up().await {
                return server;
            }
        }
        panic!("redis-server found no free port in five tries: see {}", dir.join("redis.log").display());
    }

    /// `redis://…`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command and returns its answer.
    ///
    /// # Panics
    /// When the server does not answer, or refuses.
    pub async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        let answer = command.arg(&words[1..]).query_async(&mut self.connect().await).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", words.join(" ")))
    }

    /// A connection.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("the URL is well formed");
        // The client's default of half a second is too short for a machine that compiles beside.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
        client.get_multiplexed_async_connection_with_config(&config).await.expect("redis-server answers")
    }

    /// kill -9.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Starts it again on the same port with the same data.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.process.restart();
        assert!(self.comes_up().await, "redis-server did not come up again");
    }

    /// kill -9, and starts it again on the same port without its data.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart_empty(&mut self, dir: &Path) {
        self.process.kill9();
        std::fs::remove_dir_all(dir.join("appendonlydir")).expect("redis-server keeps its data there");
        self.restart().await;
    }

    /// Runs a command. What it answers, and whether it answers at all, is of no interest.
    pub async fn tell(&self, words: &[&str]) {
        let client = redis::Client::open(self.url()).expect("the URL is well formed");
        if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
            let _ = redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut connection).await;
        }
    }

    async fn comes_up(&mut self) -> bool {
        let url = self.url();
        let mut alive = true;
        until("redis-server answers", Duration::from_secs(20), async || {
            if self.process.exited().is_some() {
                alive = false;
                return true;
            }
            let client = redis::Client::open(url.as_str()).expect("the URL is well formed");
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
            redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
        })
        .await;
        alive
    }
}

/// A port that was free a moment ago, for a server that does not take port 0.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a bound listener has an address").port()
}
