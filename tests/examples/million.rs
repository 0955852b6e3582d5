//! For `tests/bench/million.sh`: a center that has any number of versions, and a client that asks an edge for them.
//!
//! ```text
//! million center FILE              serves, after it wrote its address to FILE
//! million ask ADDRESS FROM TO N    asks for the versions FROM..TO over N connections and compares every body
//! ```
//! Version `i` is `bench.example/n<i mod 997>/@v/v1.<i>.0.info`; its body follows from `i`, so that nothing is kept on either side.

use std::io::{Error, Result};
use std::net::SocketAddr;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How many modules the versions belong to.
const MODULES: u64 = 997;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["center", file] => center(file).await,
        ["ask", address, from, to, connections] => {
            let range = number(from)?..number(to)?;
            ask(address.parse().map_err(Error::other)?, range, number(connections)?).await
        }
        _ => Err(Error::other("usage: million center FILE | million ask ADDRESS FROM TO CONNECTIONS")),
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|error| Error::other(format!("{text:?}: {error}")))
}

/// About 200 bytes, as a real `.info` has them.
fn body(i: u64) -> String {
    let hash = hex::encode(&Sha256::digest(i.to_le_bytes())[..20]);
    format!(
        "{{\"Version\":\"v1.{i}.0\",\"Time\":\"2024-05-06T07:08:09Z\",\"Origin\":{{\"VCS\":\"git\",\
         \"URL\":\"https://bench.example/n{}\",\"Hash\":\"{hash}\",\"Ref\":\"refs/tags/v1.{i}.0\"}}}}",
        i % MODULES
    )
}

async fn center(file: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Complete when it is there.
    std::fs::write(format!("{file}.new"), address.to_string())?;
    std::fs::rename(format!("{file}.new"), file)?;
    axum::serve(listener, Router::new().fallback(answer)).await
}

async fn answer(uri: Uri) -> Response {
    let version = uri.path().rsplit_once("/@v/v1.").and_then(|(_, rest)| rest.strip_suffix(".0.info")?.parse().ok());
    let Some(body) = version.map(body) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "unavailable: only versions here\n").into_response();
    };
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&body)));
    let headers = [
        ("repr-digest", digest.as_str()),
        (header::LAST_MODIFIED.as_str(), "Mon, 06 May 2024 07:08:09 GMT"),
        (header::CONTENT_TYPE.as_str(), "application/json"),
    ];
    (headers, body.clone()).into_response()
}

async fn ask(edge: SocketAddr, range: std::ops::Range<u64>, connections: u64) -> Result<()> {
    let mut clients = JoinSet::new();
    for first in 0..connections {
        let mine = range.clone().skip(usize::try_from(first).map_err(Error::other)?);
        let mine = mine.step_by(usize::try_from(connections).map_err(Error::other)?);
        clients.spawn(async move {
            let mut stream = BufReader::new(TcpStream::connect(edge).await?);
            stream.get_ref().set_nodelay(true)?;
            for i in mine {
                ask_one(&mut stream, i).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.map_err(Error::other)??;
    }
    Ok(())
}

async fn ask_one(stream: &mut BufReader<TcpStream>, i: u64) -> Result<()> {
    let path = format!("/bench.example/n{}/@v/v1.{i}.0.info", i % MODULES);
    let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut line, mut status, mut len) = (String::new(), String::new(), 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(Error::other(format!("{path}: the connection was closed")));
        }
        match line.trim_end() {
            "" => break,
            text if status.is_empty() => text.clone_into(&mut status),
            text => {
                let (name, value) = text.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    len = value.trim().parse().map_err(Error::other)?;
                }
            }
        }
    }
    let mut found = vec![0; len];
    stream.read_exact(&mut found).await?;
    if !status.contains(" 200") || found != body(i).as_bytes() {
        return Err(Error::other(format!("{path}: {status}: {}", String::from_utf8_lossy(&found))));
    }
    Ok(())
}
