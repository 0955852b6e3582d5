//! The Go team's own script tests, through edge and center.

use std::net::TcpListener;

use modtier_tests::gosuite::{SUMDB, Suite, scripts};
use modtier_tests::{Cluster, Process};

#[tokio::test(flavor = "multi_thread")]
async fn every_script_of_the_go_team_passes_through_edge_and_center() {
    let folder = tempfile::tempdir().unwrap();
    // The center must know its upstream before the suite runs: the port is reserved, then left to the suite.
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let cluster = Cluster::with_upstream(&format!("http://{upstream}/mod")).sumdb_names(SUMDB).start().await;
    let suite = Suite { dir: folder.path().to_owned(), upstream, goproxy: Some(cluster.goproxy()) };
    let verdict = tokio::task::spawn_blocking(move || suite.run()).await.unwrap();

    println!("{} passed, {} failed, {} skipped", verdict.passed.len(), verdict.failed.len(), verdict.skipped.len());
    for script in &verdict.failed {
        println!("{}\n", verdict.log_of(script));
    }
    assert!(verdict.failed.is_empty(), "failed: {:?}\n{}", verdict.failed, tail(&cluster.center));
    assert!(verdict.unfinished().is_empty(), "did not finish: {:?}\n{}", verdict.unfinished(), verdict.log);
    assert!(verdict.skipped.is_empty(), "skipped, so something is not installed: {:?}", verdict.skipped);
    assert_eq!(verdict.passed.len(), scripts().len());
    assert!(
        verdict.upstream_requests.len() > 100,
        "the suite's proxy was hardly asked: {:?}",
        verdict.upstream_requests
    );
    assert!(cluster.edge.log().contains(".zip"), "the edge was not asked for a zip");
}

fn tail(process: &Process) -> String {
    let log = process.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
