//! What only raw bytes on a connection can show: malformed requests, framing, pipelining, old clients.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{INFO, ZIP, started};
use crate::testing::{Proof, Reply, TestEdge};

/// One raw exchange; everything that comes until the edge closes or is silent.
async fn raw(edge: &TestEdge, text: &str) -> String {
    let mut stream = TcpStream::connect(edge.service()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count)) = tokio::time::timeout(Duration::from_secs(3), stream.read(&mut buffer)).await {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_go_command_sends_is_refused() {
    let (_center, edge) = started().await;
    for (path, status) in [
        ("/example.com/a/../b/@v/list", "400"),
        ("/example.com//a/@v/list", "400"),
        ("/example.com/a/@v/%00.info", "400"),
        ("/example.com/a%252fb/@v/list", "400"),
        ("/example.com/a%5Cb/@v/list", "400"),
        ("/example.com/a/%zz/@v/list", "400"),
        ("/example.com/A/@v/list", "404"),
        ("/example.com/a/@v/v1.zip", "404"),
        ("/other/example.com/a/@v/list", "403"),
        ("/metrics", "404"),
    ] {
        let answer = raw(&edge, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    let answer = raw(&edge, "nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_get_and_head_and_nothing_after_a_body_is_a_request() {
    let (_center, edge) = started().await;
    for method in ["PUT", "POST", "DELETE", "OPTIONS"] {
        let smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let text = format!(
            "{method} /{INFO} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{smuggled}\
             GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            smuggled.len()
        );
        let answer = raw(&edge, &text).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("allow: get, head\r\n"), "{method}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{method}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{method}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let (_center, edge) = started().await;
    let text = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw(&edge, text).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert!(answer.find("ok\n").unwrap() < answer.find("modtier-edge").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_gets_a_length_and_no_chunks() {
    let (center, edge) = started().await;
    center.reply(ZIP, Reply::right(vec![b'z'; 200_000], Proof::Trailer));
    let answer = raw(&edge, &format!("GET /{ZIP} HTTP/1.0\r\n\r\n")).await.to_ascii_lowercase();
    assert!(answer.contains("content-length: 200000\r\n"), "{}", &answer[..400]);
    assert!(!answer.contains("transfer-encoding"));
    assert_eq!(answer.split("\r\n\r\n").nth(1).unwrap().len(), 200_000);
    center.reply(INFO, Reply::wrong("{}", Proof::Trailer));
    let answer = raw(&edge, &format!("GET /{INFO} HTTP/1.0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502") || answer.starts_with("HTTP/1.0 502"), "{answer}");
}
