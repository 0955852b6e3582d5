//! A line to a server that can be made slow, or cut.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the line is like.
#[derive(Debug, Clone, Copy)]
struct Line {
    target: u16,
    delay: Duration,
}

/// A port that leads to another one of this machine.
#[derive(Debug)]
pub struct SlowLine {
    port: u16,
    line: watch::Sender<Line>,
    accepting: JoinHandle<()>,
}

impl SlowLine {
    /// A line to `target`, as quick as it can be.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(target: u16) -> Self {
        let (line, seen) = watch::channel(Line { target, delay: Duration::ZERO });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, seen.clone()));
            }
        });
        Self { port, line, accepting }
    }

    /// Where to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on every piece of an answer takes so much longer.
    pub fn set_delay(&self, delay: Duration) {
        self.line.send_modify(|line| line.delay = delay);
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, line: watch::Receiver<Line>) {
    let target = line.borrow().target;
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let back = async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from_server.read(&mut piece).await {
            let delay = line.borrow().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if to_client.write_all(&piece[..len]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}
