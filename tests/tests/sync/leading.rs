//! Several syncers: one leads, another takes over, and who was deposed writes nothing.

use std::time::Duration;

use modtier_tests::{ClusterBuilder, Process, until};

use super::scene::Scene;

/// How soon another relay must lead.
const TAKE_OVER: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn another_syncer_takes_over_and_a_paused_leader_writes_nothing() {
    let mut scene = Scene::start(ClusterBuilder::with_redis).await;
    let mut first = scene.cluster.syncer.take().unwrap();
    let leader = scene.leader(None, TAKE_OVER).await;
    assert_eq!(leader, first.pid());
    scene.cluster.syncer = Some(Process::spawn(first.spec().clone().named("syncer-2")));
    let second_pid = scene.cluster.syncer.as_ref().unwrap().pid();
    until("the second stands by", TAKE_OVER, async || {
        scene.cluster.syncer.as_ref().unwrap().log().contains("standing by")
    })
    .await;
    scene.visited();

    first.signal("STOP");
    let leader = scene.leader(Some(first.pid()), TAKE_OVER).await;
    assert_eq!(leader, second_pid);
    scene.returns("the leader was paused").await;
    first.signal("CONT");
    until("the paused one has seen that it was deposed", TAKE_OVER, async || {
        first.log().contains("the lease was lost")
    })
    .await;
    scene.publish_is_seen("with the deposed one back").await;
    assert_eq!(scene.leader(None, TAKE_OVER).await, second_pid);

    scene.cluster.syncer.as_mut().unwrap().kill9();
    let leader = scene.leader(Some(second_pid), TAKE_OVER).await;
    assert_eq!(leader, first.pid());
    scene.returns("the leader was killed").await;

    // One that stops in order hands over at once: its lease of 5 s is not waited for.
    let mut third = Process::spawn(first.spec().clone().named("syncer-3"));
    until("the third stands by", TAKE_OVER, async || third.log().contains("standing by")).await;
    assert_eq!(first.stop().await.code(), Some(0));
    assert_eq!(scene.leader(Some(first.pid()), Duration::from_secs(3)).await, third.pid());
    scene.returns("the leader was stopped").await;
    scene.stream_is_whole().await;
    assert!(third.exited().is_none());
}
