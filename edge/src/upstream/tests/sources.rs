//! Centers that are well, and whose own sources are not.

use shared::config::Period;

use super::{all_answered, center, edge_of, info, prefer, shown, until_known};
use crate::testing::Reply;

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_beyond_a_single_center_costs_nothing_else() {
    let only = center().await;
    let edge = edge_of(&[&only], |config| {
        config.breaker.open = Period::secs(300);
        config.breaker.open_max = Period::secs(300);
    });
    for (number, status) in (0..30).zip([502, 503, 504].into_iter().cycle()) {
        only.reply(&info(number), Reply::Beyond(status));
        assert_eq!(edge.get(&info(number)).await.status, status, "{number}");
    }
    all_answered(&edge, 30..40).await;
    assert_eq!(shown(&edge, &only).await["breaker"]["state"], "closed");
    // Its own failures still do: those that say nothing, and those that something in between says.
    for number in 40..45 {
        only.reply(&info(number), Reply::Refusal(503, "unavailable: the center's storage failed"));
        edge.get(&info(number)).await;
    }
    assert_eq!(shown(&edge, &only).await["breaker"]["state"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_whose_sources_fail_is_left_for_one_that_reaches_them() {
    let (cut_off, good) = (center().await, center().await);
    (0..20).for_each(|number| cut_off.reply(&info(number), Reply::Beyond(503)));
    let edge = edge_of(&[&cut_off, &good], |config| prefer(config, &cut_off));
    until_known(&edge).await;
    all_answered(&edge, 0..20).await;
    assert!(cut_off.asked() < 20, "its breaker opened: {}", cut_off.asked());
    assert_eq!(good.asked(), 20);
}
