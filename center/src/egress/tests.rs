use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// A server on loopback that echoes one connection's bytes in capitals.
async fn shouting() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count].to_ascii_uppercase()).await.unwrap();
        }
    });
    port
}

async fn ask(egress: &Egress, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(egress.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

fn connect_to(target: &str, secret: &str) -> String {
    use base64::Engine as _;
    let credential = base64::engine::general_purpose::STANDARD.encode(format!("fetch:{secret}"));
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credential}\r\n\r\n")
}

fn internal(host: &str, port: u16) -> EgressSettings {
    EgressSettings {
        internal_hosts: vec![host.to_owned()],
        connect_to: BTreeMap::from([(format!("{host}:443"), format!("127.0.0.1:{port}"))]),
        ..EgressSettings::default()
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_to_where_a_host_is_configured_to_be() {
    let egress = Egress::start(&internal("git.corp.test", shouting().await)).unwrap();
    let pass = egress.pass();
    let (mut stream, head) = ask(&egress, &connect_to("git.corp.test:443", pass.password())).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HELLO");
    assert_eq!(pass.incidents(), []);
}

#[tokio::test]
async fn without_a_pass_nothing_is_let_through() {
    let egress = Egress::start(&internal("git.corp.test", shouting().await)).unwrap();
    let pass = egress.pass();
    let secret = pass.password().to_owned();
    drop(pass);
    for request in ["CONNECT git.corp.test:443 HTTP/1.1\r\n\r\n".to_owned(), connect_to("git.corp.test:443", &secret)] {
        let (_, head) = ask(&egress, &request).await;
        assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
        assert!(head.contains("Proxy-Authenticate: Basic"), "{head}");
    }
}

#[tokio::test]
async fn an_internal_address_is_refused_unless_its_host_is_listed() {
    let port = shouting().await;
    let unlisted = EgressSettings { internal_hosts: Vec::new(), ..internal("git.corp.test", port) };
    let egress = Egress::start(&unlisted).unwrap();
    let pass = egress.pass();
    let targets = ["git.corp.test:443", "127.0.0.1:443", "localhost:443", "[::1]:443", "169.254.169.254:443"];
    for (count, target) in targets.into_iter().enumerate() {
        let (_, head) = ask(&egress, &connect_to(target, pass.password())).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{target}: {head}");
        let incidents = pass.incidents();
        assert!(matches!(&incidents[count], Incident::Refused(why) if why.contains("internal")), "{incidents:?}");
    }
}

#[tokio::test]
async fn only_tunnels_to_known_ports_are_opened() {
    let egress = Egress::start(&EgressSettings::default()).unwrap();
    let pass = egress.pass();
    let get = connect_to("x", pass.password()).replacen("CONNECT x", "GET http://git.corp.test/", 1);
    for request in [get, connect_to("git.corp.test:6379", pass.password()), connect_to("nonsense", pass.password())] {
        let (_, head) = ask(&egress, &request).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{request}: {head}");
    }
    assert_eq!(pass.incidents().len(), 3);
}

#[tokio::test]
async fn a_host_that_is_down_is_told_from_one_that_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let egress = Egress::start(&internal("git.corp.test", port)).unwrap();
    let pass = egress.pass();
    let (_, head) = ask(&egress, &connect_to("git.corp.test:443", pass.password())).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(matches!(pass.incidents()[..], [Incident::Unreachable(_)]));
}

/// A proxy that answers one CONNECT with this status, notes what it was asked, and then echoes in capitals.
async fn parent(status: &'static str) -> (u16, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, receiver) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head::read_head(&mut stream).await.unwrap();
        asked.send(String::from_utf8(head).unwrap()).unwrap();
        stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count].to_ascii_uppercase()).await.unwrap();
        }
    });
    (port, receiver)
}

#[tokio::test]
async fn hosts_outside_are_reached_by_the_parent_proxy_and_hosts_inside_are_not() {
    let (port, asked) = parent("200 OK").await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "secret\n").unwrap();
    let settings = EgressSettings {
        parent: Some(format!("http://modtier@127.0.0.1:{port}")),
        parent_password_file: Some(password.path().to_owned()),
        ..internal("git.corp.test", shouting().await)
    };
    let egress = Egress::start(&settings).unwrap();
    let pass = egress.pass();
    for target in ["outside.test:443", "git.corp.test:443"] {
        let (mut stream, head) = ask(&egress, &connect_to(target, pass.password())).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{target}: {head}");
        stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HELLO", "{target}");
    }
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("CONNECT outside.test:443 HTTP/1.1\r\n"), "{asked}");
    // modtier:secret
    assert!(asked.contains("\r\nProxy-Authorization: Basic bW9kdGllcjpzZWNyZXQ=\r\n"), "{asked}");
    for target in ["169.254.169.254:443", "127.0.0.1:22"] {
        let (_, head) = ask(&egress, &connect_to(target, pass.password())).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{target}: {head}");
    }
}

#[tokio::test]
async fn what_the_parent_proxy_says_is_understood() {
    for (says, ours) in [("403 Forbidden", "403"), ("407 No", "403"), ("502 Bad Gateway", "502"), ("504 Late", "504")] {
        let (port, _asked) = parent(says).await;
        let parent = Some(format!("http://127.0.0.1:{port}"));
        let egress = Egress::start(&EgressSettings { parent, ..EgressSettings::default() }).unwrap();
        let pass = egress.pass();
        let (_, head) = ask(&egress, &connect_to("outside.test:443", pass.password())).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {ours} ")), "{says}: {head}");
    }
}
