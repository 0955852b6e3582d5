//! What a start and a manifest cost, by how much is held. `make bench` asks for a million versions.

use std::time::{Duration, Instant};

use shared::digest::Digest;

use super::Ground;
use crate::store::change_log::encode;
use crate::store::engine::Batch;
use crate::store::{Decision, Draft, Store, StoreError, Stored, Subject, VersionRecord, View, family, keys, manifest};

/// Versions of each module.
const VERSIONS: usize = 10;

/// How many versions are held at most.
fn versions_max() -> usize {
    std::env::var("MODTIER_VERSIONS").map_or(20_000, |count| count.parse().expect("MODTIER_VERSIONS is a number"))
}

#[derive(Debug, Clone, Copy)]
struct Costs {
    start: Duration,
    manifest: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_manifest_do_not_cost_what_everything_costs() {
    let (few, many) = (versions_max() / 100, versions_max());
    let small = measure(few).await;
    let large = measure(many).await;
    for (what, small, large) in
        [("start", small.start, large.start), ("manifest of one changed module", small.manifest, large.manifest)]
    {
        let growth = large.as_secs_f64() / small.as_secs_f64();
        println!("| {what} | {few}: {small:.1?} | {many}: {large:.1?} | {growth:.1} |");
        // A hundred times as much would be linear; what is measured in milliseconds needs room for chance.
        assert!(growth < 50.0 || large < Duration::from_millis(50), "{what} grows by {growth:.0}");
    }
}

async fn measure(versions: usize) -> Costs {
    let ground = Ground::embedded();
    let store = ground.open().await;
    store.open_log("r").await.unwrap();
    fill(&store, versions).await;
    let before = manifest_of(&store).await;
    drop(store);
    let started = Instant::now();
    let store = ground.open().await;
    store.open_log("r").await.unwrap();
    let mut modules = 0;
    store.for_each_module("r", |_| modules += 1).await.unwrap();
    let start = started.elapsed();
    assert_eq!(modules, versions / VERSIONS);
    let subject = Subject { repository: "r", logs: &["r".to_owned()], module: "example.com/m7" };
    let change = |draft: &mut Draft| {
        draft.record.info = Some(stored(1));
        Ok::<_, StoreError>(Decision::Write)
    };
    store.commit_version(subject, "v9.0.0", &[], change).await.unwrap();
    let started = Instant::now();
    let after = manifest_of(&store).await;
    let manifest = started.elapsed();
    assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
    Costs { start, manifest }
}

async fn fill(store: &Store, versions: usize) {
    for first in (0..versions).step_by(1000) {
        let mut batch = Batch::default();
        for number in first..(first + 1000).min(versions) {
            let (module, version) =
                (format!("example.com/m{}", number / VERSIONS), format!("v1.0.{}", number % VERSIONS));
            let parts = [0, 1, 2].map(|part| Some(stored(number * 3 + part)));
            let [info, gomod, zip] = parts;
            let record = VersionRecord { info, gomod, zip, announced: true, ..VersionRecord::default() };
            let place = (family::VERSIONS, keys::version("r", &module, &version));
            batch.puts.push((place, encode(&record).into()));
            manifest::note(&mut batch, ("r", &module, &version), (&VersionRecord::default(), &record), None);
        }
        let mut batch = Some(batch);
        store.inner.engine.commit(&[], None, &mut |_| Ok(batch.take())).await.unwrap();
    }
}

fn stored(number: usize) -> Stored {
    Stored { digest: Digest::of(&number.to_le_bytes()), len: 100, modified_ms: 1, generation: 0 }
}

async fn manifest_of(store: &Store) -> Vec<Digest> {
    let members = ["r".to_owned()];
    let view = View { repository: "r", members: &members, rules: Digest::of(b""), may_answer: |_: &str, _: &str| true };
    store.manifest(&view).await.unwrap().buckets
}
