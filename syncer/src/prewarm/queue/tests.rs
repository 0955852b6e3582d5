use std::path::Path;

use shared::digest::Digest;

use super::*;
use crate::prewarm::settings::PrewarmSettings;
use crate::prewarm::target::{Failure, Got};
use crate::prewarm::wanted::{Cause, CauseKind, Parts};

fn wanted(name: &str, parts: Parts) -> Wanted {
    let key = format!("example.com/{name}@v1.0.0").parse().unwrap();
    Wanted { key, parts, cause: Cause::new(CauseKind::Project, "go.mod"), anew: false }
}

fn settings(folder: &Path) -> PrewarmSettings {
    PrewarmSettings { state_dir: folder.to_owned(), tries_max: 2, ..PrewarmSettings::default() }
}

fn open(folder: &Path) -> Arc<Queue> {
    Queue::open(&["one".into(), "two".into()], &settings(folder), PrewarmMetrics::new()).unwrap()
}

fn got(was_warm: bool, bytes: u64) -> Got {
    Got { was_warm, bytes, sha256: Some(Digest::of(b"the same everywhere")) }
}

fn failed(is_final: bool) -> Failure {
    Failure { reason: "broken".into(), is_final }
}

async fn take(queue: &Arc<Queue>, edge: &str) -> Vec<Job> {
    queue.take(edge, 100, true).await.unwrap_or_default()
}

#[tokio::test]
async fn a_restart_at_any_moment_loses_nothing_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let versions = vec![wanted("a", Parts::GRAPH), wanted("b", Parts::MOD), wanted("c", Parts::MOD)];
    assert_eq!(queue.want(versions.clone()).await, 6, "three versions at two edges");
    assert_eq!(queue.want(versions).await, 0);
    let jobs = take(&queue, "one").await;
    assert_eq!(jobs.len(), 3);
    let outcomes = vec![
        vec![(Parts::INFO, Ok(got(false, 7))), (Parts::MOD, Ok(got(true, 5)))],
        vec![(Parts::MOD, Err(failed(true)))],
    ];
    queue.settle("one", jobs[..2].to_vec(), outcomes).await;
    // One is held, one was given up, one is under way; then the process is gone.
    drop(queue);
    let queue = open(folder.path());
    let jobs = take(&queue, "one").await;
    assert_eq!(jobs.iter().map(|job| job.key.to_string()).collect::<Vec<_>>(), ["example.com/c@v1.0.0"]);
    assert_eq!(take(&queue, "two").await.len(), 3);
    let dead = dead_letters(folder.path()).unwrap();
    assert_eq!((dead.len(), dead[0].0.as_str(), dead[0].1.error.as_str()), (1, "one", ".mod: broken"));
    assert_eq!(queue.state.lock().spent["one"].1, 7, "the bytes of the day are not forgotten");
}

#[tokio::test]
async fn what_was_given_up_is_tried_again_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    queue.want(vec![wanted("a", Parts::MOD), wanted("b", Parts::MOD)]).await;
    let jobs = take(&queue, "one").await;
    queue.settle("one", jobs, vec![vec![(Parts::MOD, Err(failed(true)))], vec![(Parts::MOD, Err(failed(true)))]]).await;
    assert!(queue.take("one", 100, true).await.is_none());
    let only_a = Search { module: Some("com/a".into()), cause: Some("go.mod".into()) };
    request_retry(folder.path(), &only_a).unwrap();
    let request = std::fs::read_dir(folder.path().join(RETRY)).unwrap().next().unwrap().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&request.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644, "whoever has the queue can read it");
    assert_eq!(queue.follow_requests().await, 1);
    assert_eq!(queue.follow_requests().await, 0, "once");
    assert_eq!(take(&queue, "one").await.len(), 1);
    assert_eq!(dead_letters(folder.path()).unwrap().len(), 1);
    let log = search(folder.path(), &Search { cause: Some("project".into()), ..Search::default() }).unwrap();
    assert_eq!(log.iter().map(|line| line.result.as_str()).collect::<Vec<_>>(), ["dead", "dead"]);
}

#[tokio::test]
async fn a_failure_is_tried_again_after_a_while_and_then_given_up() {
    let settings = PrewarmSettings { retry_first: shared::config::Period::millis(40), ..settings(Path::new("none")) };
    let queue = Queue::in_memory(&["one".into()], &settings, PrewarmMetrics::new());
    queue.want(vec![wanted("a", Parts::MOD)]).await;
    for round in 0..2 {
        let jobs = take(&queue, "one").await;
        assert_eq!((jobs.len(), jobs[0].tries), (1, round));
        queue.settle("one", jobs, vec![vec![(Parts::MOD, Err(failed(false)))]]).await;
    }
    assert!(queue.take("one", 100, true).await.is_none());
    assert_eq!(queue.summary().await.to_string(), "0 warmed, 0 already warm, 1 failed, 0 bytes");
}

#[tokio::test]
async fn an_edge_that_holds_other_bytes_than_another_is_not_warm() {
    let settings = PrewarmSettings { retry_first: shared::config::Period::millis(40), ..settings(Path::new("none")) };
    let queue = Queue::in_memory(&["one".into(), "two".into()], &settings, PrewarmMetrics::new());
    queue.want(vec![wanted("a", Parts::MOD)]).await;
    let settle = async |edge: &str, bytes: &[u8]| {
        let jobs = take(&queue, edge).await;
        let outcome = Ok(Got { was_warm: true, bytes: 5, sha256: Some(Digest::of(bytes)) });
        queue.settle(edge, jobs, vec![vec![(Parts::MOD, outcome)]]).await;
        queue.state.lock().lanes[edge].is_idle()
    };
    assert!(settle("one", b"wrong").await);
    assert!(!settle("two", b"right").await, "it is tried again");
    queue.want(vec![Wanted { anew: true, ..wanted("a", Parts::MOD) }]).await;
    assert!(settle("one", b"right").await, "it was repaired");
    assert!(settle("two", b"right").await, "so the other is right too");
    assert_eq!(queue.state.lock().lanes["two"].dead().count(), 0);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let second = Queue::open(&[], &settings(folder.path()), PrewarmMetrics::new());
    assert!(matches!(second, Err(StateError::Locked(_))));
}
