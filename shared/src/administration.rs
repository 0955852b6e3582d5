//! Serving an administration listener. `axum::serve` waits for ever for a request's header; here a client that says nothing, or says
//! it too slowly, is let go: mere silence keeps no descriptor from those who look after a server in trouble.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;

/// How long a client may take to send a request's header, and be silent between two requests. Longer than the usual period of a scrape,
/// 15 s: a connection must not end just when the next one comes.
const HEADER: Duration = Duration::from_secs(20);

/// Serves HTTP/1.1 until `stop` is ready and what began before it has ended.
pub async fn serve(listener: impl Listener, routes: Router, stop: impl Future<Output = ()>) {
    serve_patiently(listener, routes, stop, HEADER).await;
}

async fn serve_patiently(
    mut listener: impl Listener,
    routes: Router,
    stop: impl Future<Output = ()>,
    patience: Duration,
) {
    let mut stop = pin!(stop);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience);
    let open = GracefulShutdown::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(routes.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the administration ended");
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_or_not_enough_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/healthz", get(|| async { "ok\n" }));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopping = async { stopped.await.unwrap() };
        let served = tokio::spawn(serve_patiently(listener, routes, stopping, Duration::from_millis(300)));
        for (sent, answered) in [
            ("", false),
            ("GET /healthz HTTP/1.1\r\nHost: a\r\n", false),
            ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /", true),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut received = Vec::new();
            let ended = timeout(Duration::from_secs(20), stream.read_to_end(&mut received)).await;
            assert!(ended.is_ok(), "the connection stays open after {sent:?}");
            assert_eq!(received.starts_with(b"HTTP/1.1 200 OK\r\n"), answered, "{sent:?}");
        }
        stop.send(()).unwrap();
        timeout(Duration::from_secs(20), served).await.expect("it ends").unwrap();
    }
}
