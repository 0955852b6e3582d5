//! Centers that take requests and never answer: whoever asks for what is held does not notice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modtier_tests::{BuiltModule, Fault, LoneEdge, Module, Origin, Web, until};
use tokio::task::JoinSet;

/// As many as the edge asks a center at one time.
const HANGING: usize = 200;
const WARM_CLIENTS: usize = 16;
const HITS_EACH: usize = 250;
const NEVER: Duration = Duration::from_hours(1);

/// What the center is asked and never answers: half of it no header, half of it the middle of a body.
fn cold(index: usize) -> String {
    let kind = if index.is_multiple_of(2) { "silent" } else { "stalled" };
    format!("cold.example/{kind}/m{index}/@v/v1.0.0.zip")
}

fn warm_modules() -> Vec<BuiltModule> {
    (0..20)
        .map(|index: u32| {
            let size = 500 * usize::try_from(index * index).unwrap();
            Module::new(&format!("warm.example/m{index}"), "v1.0.0").ballast(size, index.into()).build()
        })
        .collect()
}

async fn center() -> Origin {
    let center = Origin::start().await;
    for index in 0..HANGING {
        center.set(&cold(index), vec![u8::try_from(index).unwrap(); 300_000]);
    }
    center.fault("/silent/", Fault::Delay(NEVER));
    center.fault("/stalled/", Fault::Stall(200_000));
    center
}

/// Times of all hits, each of them whole and right.
async fn hit_all(web: &Web, modules: &Arc<Vec<BuiltModule>>) -> Vec<Duration> {
    let mut clients = JoinSet::new();
    for client in 0..WARM_CLIENTS {
        let (web, modules) = (web.clone(), Arc::clone(modules));
        clients.spawn(async move {
            let mut took = Vec::with_capacity(HITS_EACH);
            for index in client..client + HITS_EACH {
                let module = &modules[index % modules.len()];
                let begun = Instant::now();
                let reply = web.get(&module.zip_path()).await;
                took.push(begun.elapsed());
                assert!(reply.is_whole() && reply.body == module.zip, "{}: {}", module.query(), reply.status);
                assert_eq!(reply.header("x-cache"), "HIT", "{}", module.query());
            }
            took
        });
    }
    let mut took = clients.join_all().await.concat();
    took.sort_unstable();
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_hits_go_on_while_two_hundred_cold_fetches_hang() {
    let mut center = center().await;
    let modules = Arc::new(warm_modules());
    modules.iter().for_each(|module| center.publish(module));
    let edge = LoneEdge::before(&[&center])
        .env("MODTIER_EDGE_LIMITS_UPSTREAM_QUEUE", "1s")
        .env("MODTIER_EDGE_FRESHNESS_MEMORY", "1s")
        .env("MODTIER_EDGE_FRESHNESS_OTHER", "1s")
        .env("MODTIER_EDGE_FRESHNESS_STABLE", "1s")
        .start()
        .await;
    let web = edge.web();
    for module in modules.iter() {
        assert!(web.get(&module.zip_path()).await.is_whole());
    }
    let list = "warm.example/m1/@v/list";
    assert!(web.get(list).await.is_whole());
    let undisturbed = hit_all(&web, &modules).await;

    let mut waiting = JoinSet::new();
    for index in 0..HANGING {
        let web = web.clone();
        waiting.spawn(async move { web.try_get(&cold(index)).await });
    }
    until("the center hangs on every fetch", Duration::from_secs(30), async || {
        center.asked("cold.example/").len() >= HANGING
    })
    .await;
    let hanging = hit_all(&web, &modules).await;
    until("what may change is answered stale meanwhile", Duration::from_secs(10), async || {
        let reply = web.get(list).await;
        assert!(reply.is_whole(), "{}", reply.status);
        reply.header("x-cache") == "STALE"
    })
    .await;
    let refused = web.get("cold.example/one-too-many/@v/v1.0.0.mod").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    let p99 = |took: &[Duration]| took[took.len() * 99 / 100];
    println!(
        "p99 of {} hits: {:?} undisturbed, {:?} beside the hanging fetches",
        hanging.len(),
        p99(&undisturbed),
        p99(&hanging)
    );

    // The center comes to its senses: every fetch can be had again.
    center.heal();
    center.go_down().await;
    center.come_back();
    while let Some(ended) = waiting.join_next().await {
        if let Ok(reply) = ended.unwrap() {
            let right = reply.is_whole() && reply.body.len() == 300_000;
            let failed = !reply.complete || [502, 503, 504].contains(&reply.status);
            assert!(right || failed, "{} {} bytes", reply.status, reply.body.len());
        }
    }
    until("all is filled in the end", Duration::from_mins(2), async || {
        for index in 0..HANGING {
            let reply = web.get(&cold(index)).await;
            if !reply.is_whole() {
                assert!(reply.status >= 500, "{}", reply.status);
                return false;
            }
        }
        true
    })
    .await;
}
