//! A model of what is published, and real processes that must come to agree with it whatever is done to them.
//!
//! A schedule is drawn from a seed: publishes and removals, and between them faults of Redis, syncers, edges and the center's
//! log. Meanwhile clients ask every edge without pause and judge each answer by the model. When the schedule ends and all is
//! mended, every edge must answer as the center does. A failure prints its seed and the schedule so far;
//! `MODTIER_SEED` repeats one, `MODTIER_SCHEDULES` runs more of them.

mod calm;
mod clients;
mod diary;
mod schedule;
mod truth;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use modtier_tests::{Cluster, Fleet, Origin, Seed};
use tokio::runtime::Handle;

use self::clients::{Clients, Judge};
use self::diary::Diary;
use self::schedule::{Driver, Fault};
use self::truth::Truth;

/// Schedules that run at a time: most of each is waiting.
const SIDE_BY_SIDE: usize = 2;

/// Steps of a schedule.
const STEPS: u64 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn edges_agree_with_the_center_after_any_schedule_of_faults() {
    let first = Seed::number("schedules of faults");
    let repeated = std::env::var_os("MODTIER_SEED").is_some();
    let count = std::env::var("MODTIER_SCHEDULES")
        .map_or(if repeated { 1 } else { 5 }, |text| text.parse().expect("MODTIER_SCHEDULES is a number"));
    let schedules = stream::iter((0..count).map(|number| first.wrapping_add(number)));
    // On a thread of its own each, so that only the schedule that failed tells of itself.
    let on_a_thread = |seed| tokio::task::spawn_blocking(move || Handle::current().block_on(run(seed)));
    let ended: Vec<_> = schedules.map(on_a_thread).buffer_unordered(SIDE_BY_SIDE).collect().await;
    let failed = ended.iter().filter(|ended| ended.is_err()).count();
    assert_eq!(failed, 0, "of {count} schedules");
}

/// One schedule on a fleet of its own.
async fn run(seed: u64) {
    let diary = Diary::new(seed);
    let mut random = Seed::of(seed);
    let origin = Origin::start().await;
    let edges = usize::try_from(random.within(2..4)).unwrap();
    // Half of the edges could repair what they missed before anybody sees it, the others have the log alone.
    let reconcile = random.choice(&["1s", "1h"]);
    let builder = Cluster::of(&origin)
        .edge_env("MODTIER_EDGE_SYNC_RECONCILE", reconcile)
        .edge_env("MODTIER_EDGE_LIMITS_CLIENT_FILLS", "0")
        .edge_env("MODTIER_EDGE_FRESHNESS_UNHEALTHY", "2s")
        .edge_env("MODTIER_EDGE_FRESHNESS_STALE_WHILE_REVALIDATE", "0s")
        .edge_env("MODTIER_EDGE_PROBES_INTERVAL", "500ms")
        .edge_env("MODTIER_EDGE_BREAKER_OPEN", "500ms")
        .edge_env("MODTIER_EDGE_BREAKER_OPEN_MAX", "1s");
    diary.note(&format!("{edges} edges, compared with the manifest every {reconcile}"));
    let fleet = Fleet::start(builder, edges, 2).await;
    let truth = Arc::new(Truth::default());
    let judge = Arc::new(Judge::new(Arc::clone(&truth), edges));
    let mut driver = Driver::new(fleet, truth, Arc::clone(&judge), diary, random);
    driver.prepare().await;
    let clients = Clients::start(driver.fleet(), &judge, seed);
    for step in 0..STEPS {
        driver.step(step).await;
        judge.assert_content();
    }
    driver.mend().await;
    calm::views_agree(driver.fleet(), driver.truth()).await;
    driver.diary().note("the views agree");
    driver.perform(Fault::Publish(0)).await;
    calm::views_agree(driver.fleet(), driver.truth()).await;
    clients.end().await;
    judge.assert_content();
    assert!(judge.answers() > 100, "the clients had {} answers: the test has shown nothing", judge.answers());
    driver.diary().note(&format!("{} answers judged", judge.answers()));
}

/// How long what is expected may take at most: the machine may be compiling beside.
const LIMIT: Duration = Duration::from_mins(1);
