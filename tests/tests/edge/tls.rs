//! HTTPS and HTTP/2 with real clients: the `go` command, certificates that are replaced, the local set-up.

use std::path::Path;
use std::time::Duration;

use modtier_tests::{Authority, Cluster, GoClient, Module, Origin, Process, ProcessSpec, Web, binary, raw, until};
use reqwest::Version;
use tempfile::TempDir;

struct Https {
    origin: Origin,
    cluster: Cluster,
    authority: Authority,
    /// Where the edge reads its certificate.
    files: TempDir,
}

async fn https() -> Https {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    let (authority, files) = (Authority::new(), tempfile::tempdir().expect("the temporary directory is writable"));
    authority.install(files.path());
    let path = |name: &str| files.path().join(name).display().to_string();
    let cluster = Cluster::of(&origin)
        .edge_env("MODTIER_EDGE_TLS_LISTEN", "127.0.0.1:0")
        .edge_env("MODTIER_EDGE_TLS_CERTIFICATE", &path("server.pem"))
        .edge_env("MODTIER_EDGE_TLS_KEY", &path("server.key"))
        .edge_env("MODTIER_EDGE_H2C_LISTEN", "127.0.0.1:0")
        .edge_env("MODTIER_EDGE_LIMITS_CLIENT_HEADER", "2s")
        .start()
        .await;
    Https { origin, cluster, authority, files }
}

/// A figure of the edge; 0 when it is not there.
async fn figure(cluster: &Cluster, name: &str) -> f64 {
    let text = cluster.admin_web().get("metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_command_downloads_over_tls() {
    let https = https().await;
    let trusting = GoClient::new(&https.cluster.tls_url());
    let trusting = trusting.env("SSL_CERT_FILE", &https.authority.certificate().display().to_string());
    trusting.ok(&["mod", "download", "example.com/a@v1.0.0"]).await;
    let zips = figure(&https.cluster, "modtier_http_requests_total{code=\"200\",route=\"zip\",tier=\"edge\"}").await;
    assert!(zips >= 1.0, "through the edge: {zips}");
    let stranger = GoClient::new(&https.cluster.tls_url()).run(&["mod", "download", "example.com/a@v1.0.0"]).await;
    assert!(!stranger.ok && stranger.stderr.contains("certificate"), "{}", stranger.stderr);
    assert!(https.origin.seen().iter().any(|seen| seen.path.ends_with("v1.0.0.zip")));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_and_of_tls_are_spoken() {
    let https = https().await;
    let (url, authority) = (https.cluster.tls_url(), &https.authority);
    let root = || [authority.root()];
    let zip = Web::new(&https.cluster.goproxy()).get("example.com/a/@v/v1.0.0.zip").await;
    assert_eq!(zip.header("strict-transport-security"), "", "only over TLS");
    let clients = [
        (Web::trusting(&url, authority), Version::HTTP_2),
        (Web::with(&url, |client| client.tls_certs_only(root()).http1_only()), Version::HTTP_11),
        (
            Web::with(&url, |client| client.tls_certs_only(root()).tls_version_max(reqwest::tls::Version::TLS_1_2)),
            Version::HTTP_2,
        ),
        (Web::with(&https.cluster.h2c_url(), reqwest::ClientBuilder::http2_prior_knowledge), Version::HTTP_2),
    ];
    for (web, version) in clients {
        let reply = web.get("example.com/a/@v/v1.0.0.zip").await;
        assert_eq!((reply.status, reply.version), (200, version), "{}", reply.text());
        assert!(reply.is_whole() && reply.body == zip.body, "{version:?}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let bare = Web::send(web.request(reqwest::Method::HEAD, "example.com/a/@v/v1.0.0.zip")).await.unwrap();
        assert_eq!((bare.status, bare.body.len()), (200, 0), "{version:?}");
        assert_eq!(bare.header("content-length"), zip.body.len().to_string());
        let part = web.request(reqwest::Method::GET, "example.com/a/@v/v1.0.0.zip").header("Range", "bytes=3-9");
        let part = Web::send(part).await.unwrap();
        assert_eq!((part.status, &part.body[..]), (206, &zip.body[3..10]), "{version:?}");
        assert_eq!(web.get("example.com/nobody/@v/list").await.status, 404);
    }
    let secure = Web::trusting(&url, authority).get("example.com/a/@v/list").await;
    assert_eq!(secure.header("strict-transport-security"), "max-age=63072000; includeSubDomains");
    let front = Web::trusting(&url, authority).get("").await;
    assert!(front.text().contains("GOPROXY=https://"), "{}", front.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_speak_the_listeners_language_gets_an_end() {
    let https = https().await;
    let get: &[u8] = b"GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n\r\n";
    let tls = https.cluster.tls_url().replace("https://", "http://");
    for base in [tls, https.cluster.h2c_url()] {
        for said in [get, b"", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM"] {
            let limit = Duration::from_secs(15);
            let reply = raw::exchange(&base, said, limit).await;
            assert!(reply.closed && reply.statuses().is_empty(), "{said:?} at {base}: {}", reply.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_counts_for_new_connections_while_open_ones_go_on() {
    let https = https().await;
    let url = https.cluster.tls_url();
    // Keeps its connection: it does not trust what comes later.
    let open = Web::trusting(&url, &https.authority);
    assert_eq!(open.get("example.com/a/@v/list").await.status, 200);
    let expiry = figure(&https.cluster, "modtier_edge_certificate_expiry_timestamp_seconds").await;
    assert!(expiry > 1.7e9, "{expiry}");
    let other = Authority::new();
    other.install(https.files.path());
    until("new connections get the new certificate", Duration::from_secs(20), async || {
        Web::trusting(&url, &other).try_get("example.com/a/@v/list").await.is_ok_and(|reply| reply.status == 200)
    })
    .await;
    assert_eq!(open.get("example.com/a/@v/list").await.status, 200, "an open connection goes on");
    let again = Web::trusting(&url, &https.authority).try_get("healthz").await;
    assert!(again.is_err(), "the old certificate is gone");
    assert!(figure(&https.cluster, "modtier_edge_certificate_loads_total{outcome=\"used\"}").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_is_refused_and_the_old_one_stays() {
    let https = https().await;
    let (url, files) = (https.cluster.tls_url(), https.files.path());
    let works = async || Web::trusting(&url, &https.authority).try_get("healthz").await.is_ok();
    let stranger = Authority::new();
    let expired = files.join("expired.pem");
    sign_expired(&https.authority.server_key(), &expired);
    let wrong = [
        std::fs::read(stranger.server_certificate()).unwrap(),
        b"no certificate".to_vec(),
        std::fs::read(expired).unwrap(),
    ];
    for (nth, certificate) in (1_u32..).zip(wrong) {
        std::fs::write(files.join("server.pem"), certificate).unwrap();
        until("the wrong one is refused", Duration::from_secs(20), async || {
            figure(&https.cluster, "modtier_edge_certificate_loads_total{outcome=\"refused\"}").await >= f64::from(nth)
        })
        .await;
        assert!(works().await, "wrong one {nth}: the old one stays");
    }
    std::fs::remove_file(files.join("server.pem")).unwrap();
    assert!(works().await, "the old one stays without a file");
    assert!(https.cluster.edge.log().contains("the old one stays"), "{}", https.cluster.edge.log());
    stranger.install(files);
    until("a right pair is taken again", Duration::from_secs(20), async || {
        Web::trusting(&url, &stranger).try_get("healthz").await.is_ok()
    })
    .await;
}

/// A self-signed certificate of this key that has expired.
fn sign_expired(key: &Path, to: &Path) {
    let request = to.with_extension("csr");
    let [key, to, request] = [key, to, &request].map(|path| path.display().to_string());
    let steps: [&[&str]; 2] = [
        &["req", "-new", "-key", &key, "-subj", "/CN=old", "-out", &request],
        &["x509", "-req", "-in", &request, "-signkey", &key, "-days", "-1", "-out", &to],
    ];
    for args in steps {
        let output = std::process::Command::new("openssl").args(args).output().expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_certificate_and_key_do_not_belong_together_does_not_start() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let spec = ProcessSpec::new("edge", binary("edge"), folder.path())
        .env("MODTIER_EDGE_ADMIN", "127.0.0.1:0")
        .env("MODTIER_EDGE_LISTEN", "")
        .env("MODTIER_EDGE_TLS_LISTEN", "127.0.0.1:0")
        .env("MODTIER_EDGE_TLS_CERTIFICATE", &authority.server_certificate().display().to_string())
        .env("MODTIER_EDGE_TLS_KEY", &stranger.server_key().display().to_string());
    let mut edge = Process::spawn(spec);
    let status = edge.ended(Duration::from_secs(30)).await;
    assert_eq!(status.code(), Some(1), "{}", edge.log());
    let log = edge.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("server.pem") && last.contains("MODTIER_EDGE_TLS_CERTIFICATE"), "{log}");
}
