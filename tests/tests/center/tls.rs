//! An upstream with an authority of its own that wants to see a certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use modtier_tests::{Authority, Cluster, Origin, Process, ProcessSpec, until_some};

/// Serves one list over TLS, from a folder, to whoever shows a certificate of the authority.
async fn upstream(dir: &Path, authority: &Authority) -> (Process, String) {
    fs::create_dir_all(dir.join("example.com/a/@v")).unwrap();
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nConnection: close\r\n\r\nv1.0.0\n";
    fs::write(dir.join("example.com/a/@v/list"), answer).unwrap();
    authority.install(dir);
    let ca = authority.certificate().display().to_string();
    let args = ["s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.key", "-CAfile", &ca];
    let more = ["-Verify", "1", "-verify_return_error", "-HTTP"];
    let spec = ProcessSpec::new("upstream", PathBuf::from("/usr/bin/openssl"), dir).args(&args).args(&more);
    let process = Process::spawn(spec);
    let address = until_some("openssl listens", Duration::from_secs(20), async || {
        process.log().lines().find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned))
    })
    .await;
    (process, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_with_its_own_authority_sees_the_certificate_that_is_meant_for_it() {
    let (origin, authority, dir) = (Origin::start().await, Authority::new(), tempfile::tempdir().unwrap());
    let (_process, address) = upstream(dir.path(), &authority).await;
    let (certificate, key) = authority.client_certificate();
    let ca = format!("ca_file: '{}'", authority.certificate().display());
    let identity = format!("certificate_file: '{}', key_file: '{}'", certificate.display(), key.display());
    let repositories = format!(
        "{{golang-remote: {{type: remote, upstream: 'https://{address}'}},
          golang-virtual: {{type: virtual, members: [golang-remote]}}}}"
    );
    for (host, is_known) in [
        (format!("{{'{address}': {{{ca}, {identity}}}}}"), true),
        (format!("{{'{address}': {{{ca}}}}}"), false),
        (format!("{{'other.test': {{{ca}, {identity}}}}}"), false),
    ] {
        let cluster = Cluster::of(&origin)
            .center_env("MODTIER_CENTER_REPOSITORIES", &repositories)
            .center_env("MODTIER_CENTER_OUTBOUND_HOSTS", &host)
            .center_env("MODTIER_UPSTREAM", &format!("https://{address}"))
            .start()
            .await;
        let reply = cluster.repository_web("golang-remote").get("example.com/a/@v/list").await;
        if is_known {
            assert_eq!((reply.status, reply.text().as_str()), (200, "v1.0.0\n"));
        } else {
            assert!([502, 503].contains(&reply.status), "{host}: {} {}", reply.status, reply.text());
        }
    }
}
