//! Stale answers: given at once, refreshed behind, once for each key.

use super::*;
use crate::testing::until;

/// An edge whose lists are stale as soon as they are stored.
async fn always_stale() -> (Center, TestEdge) {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, nothing_stays_fresh);
    (center, edge)
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_answers_wait_for_nobody_and_one_refresh_runs_behind_them() {
    let (center, edge) = always_stale().await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    assert_eq!(edge.get(LIST).await.x_cache(), "MISS");
    center.reply(LIST, Reply::right("v1.0.0\nv1.1.0\n", Proof::Header));
    // The refresh cannot end while the answers come.
    let gate = center.hold();
    for _ in 0..20 {
        let stale = edge.get(LIST).await;
        assert_eq!((stale.status, stale.x_cache(), stale.text().as_str()), (200, "STALE", "v1.0.0\n"));
    }
    until("a refresh began", async || center.gets(LIST) >= 2).await;
    assert_eq!(center.gets(LIST), 2);
    center.release(&gate);
    let held = async || edge.get_with(LIST, "disable-module-fetch", "true").await.text();
    until("the refresh has ended", async || held().await == "v1.0.0\nv1.1.0\n").await;
    assert_eq!(center.gets(LIST), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_fails_leaves_the_answer() {
    let (center, edge) = always_stale().await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    edge.get(LIST).await;
    center.reply(LIST, Reply::Refusal(503, "unavailable: trouble"));
    until("it was tried again", async || {
        let stale = edge.get(LIST).await;
        assert_eq!((stale.status, stale.x_cache(), stale.text().as_str()), (200, "STALE", "v1.0.0\n"));
        center.gets(LIST) >= 4
    })
    .await;
}
