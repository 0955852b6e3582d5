//! Centers that are well, and whose own sources are not.

use shared::config::Period;

use super::{all_answered, center, edge_of, info, prefer, shown, until_known};
use crate::testing::Reply;

/// What a center says of a source.
const SAID: &str = "modtier-center; error=http_protocol_error";

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_beyond_a_single_center_costs_nothing_else() {
    let only = center().await;
    let edge = edge_of(&[&only], |config| {
        config.breaker.open = Period::secs(300);
        config.breaker.open_max = Period::secs(300);
    });
    for (number, status) in (0..30).zip([502, 503, 504].into_iter().cycle()) {
        only.reply(&info(number), Reply::Beyond(status, SAID));
        assert_eq!(edge.get(&info(number)).await.status, status, "{number}");
    }
    all_answered(&edge, 30..40).await;
    assert_eq!(shown(&edge, &only).await["breaker"]["state"], "closed");
    // Its own failures still do: those that say nothing, and those that something in between says.
    let between = ["nginx; error=connection_refused", "nginx, modtier-center; error=http_protocol_error"];
    let own = [
        Reply::Refusal(503, "unavailable: the center's storage failed"),
        Reply::Beyond(502, between[0]),
        Reply::Beyond(503, between[1]),
        Reply::Refusal(500, "internal: it failed"),
        Reply::Beyond(504, between[0]),
    ];
    for (number, reply) in (40..).zip(own) {
        only.reply(&info(number), reply);
        edge.get(&info(number)).await;
    }
    assert_eq!(shown(&edge, &only).await["breaker"]["state"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_whose_sources_fail_is_left_for_one_that_reaches_them() {
    let (cut_off, good) = (center().await, center().await);
    (0..20).for_each(|number| cut_off.reply(&info(number), Reply::Beyond(503, SAID)));
    let edge = edge_of(&[&cut_off, &good], |config| prefer(config, &cut_off));
    until_known(&edge).await;
    all_answered(&edge, 0..20).await;
    assert!(cut_off.asked() < 20, "its breaker opened: {}", cut_off.asked());
    assert_eq!(good.asked(), 20);
}
