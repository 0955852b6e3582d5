//! What `make run REDIS=1 TLS=1` starts, by its script: used over TLS by the `go` command, and gone when it is stopped.

use std::path::Path;
use std::time::Duration;

use modtier_tests::{GoClient, Module, Origin, Process, ProcessSpec, binary, until, until_some, workspace};

/// Four servers and a certificate, on a machine that may be compiling beside.
const START_LIMIT: Duration = Duration::from_mins(2);

fn script(origin: &Origin, dir: &Path) -> ProcessSpec {
    let data = dir.join("data").display().to_string();
    let binaries = binary("edge").parent().unwrap().display().to_string();
    let mut spec = ProcessSpec::new("up", workspace().join("deploy/local/up.sh"), dir)
        .env("BIN", &binaries)
        .env("DATA", &data)
        .env("UPSTREAM", &origin.url())
        .env("SUMDB", "off")
        .env("VERIFY", "off")
        .env("REDIS", "1")
        .env("TLS", "1");
    for name in ["EDGE", "EDGE_ADMIN", "CENTER"] {
        spec = spec.env(name, "127.0.0.1:0");
    }
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_starts_everything_with_a_certificate_that_go_can_trust_and_stops_it_again() {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").file("a.go", "package a\n").build());
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::spawn(script(&origin, dir.path()));
    let data = dir.path().join("data");
    let run: serde_json::Value = until_some("everything is up", START_LIMIT, async || {
        assert!(up.exited().is_none(), "{}", up.log());
        serde_json::from_slice(&std::fs::read(data.join("run.json")).ok()?).ok()
    })
    .await;
    let goproxy = run["goproxy"].as_str().unwrap();
    assert!(goproxy.starts_with("https://"), "{run}");

    let stranger = GoClient::new(goproxy).run(&["mod", "download", "example.com/a@v1.0.0"]).await;
    assert!(!stranger.ok && stranger.stderr.contains("certificate"), "{stranger:?}");
    let authority = data.join("tls/authority.pem").display().to_string();
    let go = GoClient::new(goproxy).env("SSL_CERT_FILE", &authority);
    go.ok(&["mod", "download", "example.com/a@v1.0.0"]).await;
    for said in [format!("GOPROXY={goproxy}"), format!("SSL_CERT_FILE={authority}")] {
        until("the script says how it is used", START_LIMIT, async || up.log().contains(&said)).await;
    }

    up.signal("TERM");
    assert!(up.ended(Duration::from_secs(30)).await.success(), "{}", up.log());
    for name in ["edge", "center", "syncer"] {
        let pid = run["pids"][name].as_u64().unwrap();
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{name} goes on:\n{}", up.log());
    }
    assert!(!data.join("run.json").exists());
}
