//! What must hold when nothing is disturbed any more: every edge answers as the center does.

use modtier_tests::{Fleet, FleetEdge, Reply, Web, until};

use super::LIMIT;
use super::truth::{MODULES, Truth, path};

/// Waits until every edge has applied the log, and compares all that there is to ask.
pub(crate) async fn views_agree(fleet: &Fleet, truth: &Truth) {
    let head = fleet.head().await;
    for edge in &fleet.edges {
        let what = format!("{} has applied {head}", edge.id);
        until(&what, LIMIT, async || edge.cursor().await == Some(head)).await;
        // A center that was away is asked again only when its breaker lets it.
        let web = edge.web();
        until(&format!("{} asks the center", edge.id), LIMIT, async || {
            web.try_get("corp.example/none/@v/list").await.is_ok_and(|reply| reply.status < 500)
        })
        .await;
    }
    let center = fleet.repository_web("golang-virtual");
    for place in places(truth) {
        let expected = center.get(&place).await;
        for edge in &fleet.edges {
            compare(edge, &place, &expected, &center).await;
        }
    }
}

async fn compare(edge: &FleetEdge, place: &str, expected: &Reply, center: &Web) {
    let found = edge.web().get(place).await;
    let agree = |expected: &Reply| {
        found.status == expected.status && found.complete && (found.status != 200 || found.body == expected.body)
    };
    if !agree(expected) {
        let now = center.get(place).await;
        panic!(
            "{} answers {place} with {} {:?} ({}), the center with {} {:?}, now {} {:?}; at {:?}",
            edge.id,
            found.status,
            start(&found),
            found.header("x-cache"),
            expected.status,
            start(expected),
            now.status,
            start(&now),
            edge.cursor().await,
        );
    }
}

fn start(reply: &Reply) -> String {
    reply.text().chars().take(200).collect()
}

fn places(truth: &Truth) -> Vec<String> {
    let mut places = Vec::new();
    for module in 0..MODULES {
        places.extend([format!("{}/@v/list", path(module)), format!("{}/@latest", path(module))]);
        // One more than there is.
        for version in 1..=truth.last(module) + 1 {
            places.extend(["info", "mod", "zip"].map(|kind| format!("{}/@v/v1.0.{version}.{kind}", path(module))));
        }
    }
    places
}
