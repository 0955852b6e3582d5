//! Bodies that one center begins and another ends: the client sees one body, the right one, or a broken one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shared::config::{ByteSize, Period};
use shared::digest::Digest;

use super::{INFO, ZIP, zip_bytes};
use crate::config::Config;
use crate::testing::{Answered, Center, Ending, Proof, Reply, TestEdge};

/// An edge with two centers of one script: whichever is asked first gets the first reply.
struct Rig {
    center: Center,
    edge: TestEdge,
    cases: AtomicUsize,
}

impl Rig {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let center = Center::start().await;
        let twin = center.twin().await;
        let edge = TestEdge::start(&center, |config| {
            config.centers.push(format!("http://{}", twin.address));
            // One edge for many cases: it must not learn from the failures of those before.
            config.breaker.failures = 100_000;
            config.breaker.requests_min = 100_000;
            config.routing.retry_burst = 100_000;
            change(config);
        });
        Self { center, edge, cases: AtomicUsize::new(0) }
    }

    /// Asks for a zip of which the centers give these, one after the other; how often they were asked.
    async fn zip(&self, replies: impl IntoIterator<Item = Reply>) -> (Answered, usize) {
        let (answered, path) = self.zip_at(replies).await;
        (answered, self.center.gets(&path))
    }

    async fn zip_at(&self, replies: impl IntoIterator<Item = Reply>) -> (Answered, String) {
        let path = format!("example.com/m{}/@v/v1.0.0.zip", self.cases.fetch_add(1, Ordering::Relaxed));
        self.center.reply_in_turn(&path, replies);
        (self.edge.get(&path).await, path)
    }
}

fn other_bytes() -> Bytes {
    zip_bytes().iter().rev().copied().collect::<Vec<u8>>().into()
}

fn is_broken(answered: &Answered) -> bool {
    answered.body.is_err() || answered.status == 502
}

#[tokio::test(flavor = "multi_thread")]
async fn another_center_goes_on_wherever_the_first_one_dies() {
    let rig = Rig::start(|_| {}).await;
    for at in [0, 1, 10_000, 65_535, 65_536, 65_537, 100_000, 131_072, 200_001, 234_464, 250_000, 299_998, 299_999] {
        for proof in [Proof::Header, Proof::Trailer, Proof::Head] {
            let replies = [Reply::broken(zip_bytes(), proof, at), Reply::right(zip_bytes(), proof)];
            let (answered, path) = rig.zip_at(replies).await;
            assert_eq!(answered.status, 200, "{at} {proof:?}: {answered:?}");
            assert_eq!(answered.body.unwrap(), zip_bytes(), "{at} {proof:?}");
            assert_eq!(rig.center.gets(&path), 2, "{at} {proof:?}");
            let asked = rig.center.last_headers(&path);
            if at > 100_000 && proof != Proof::Head {
                assert!(asked["range"].to_str().unwrap().starts_with("bytes="), "{at}: {asked:?}");
                assert_eq!(asked["if-match"], Digest::of(&zip_bytes()).etag().as_str(), "{at}");
            }
            if at < 65_536 {
                assert!(!asked.contains_key("range"), "{at}: a body that nobody has a part of is begun anew");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_which_only_the_end_is_missing_is_whole() {
    let rig = Rig::start(|_| {}).await;
    for proof in [Proof::Trailer, Proof::Head] {
        let (answered, gets) = rig.zip([Reply::broken(zip_bytes(), proof, 300_000)]).await;
        assert_eq!((answered.body.unwrap(), gets), (zip_bytes(), 1), "{proof:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_without_ranges_goes_on_as_well() {
    let rig = Rig::start(|_| {}).await;
    for (first, second) in
        [(Proof::Header, Proof::Trailer), (Proof::Trailer, Proof::Header), (Proof::Head, Proof::Head)]
    {
        let replies = [Reply::broken(zip_bytes(), first, 200_000), Reply::right(zip_bytes(), second).without_ranges()];
        let (answered, gets) = rig.zip(replies).await;
        assert_eq!((answered.body.unwrap(), gets), (zip_bytes(), 2), "{first:?} {second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_are_never_joined_to_those_that_are_out() {
    let rig = Rig::start(|_| {}).await;
    for proof in [Proof::Header, Proof::Trailer, Proof::Head] {
        for ranges in [true, false] {
            let honest = Reply::right(other_bytes(), proof);
            let lying = Reply::lying(other_bytes(), Digest::of(&zip_bytes()), proof);
            for second in [honest, lying] {
                let second = if ranges { second } else { second.without_ranges() };
                let replies = [Reply::broken(zip_bytes(), proof, 200_000), second];
                let (answered, _) = rig.zip(replies).await;
                assert!(is_broken(&answered), "{proof:?} {ranges}: {answered:?}");
            }
        }
        // Nothing was out: the other center's body is as good, if it is what it is said to be.
        let replies = [Reply::broken(zip_bytes(), proof, 20_000), Reply::right(other_bytes(), proof)];
        let (whole, _) = rig.zip(replies).await;
        assert_eq!(whole.body.unwrap(), other_bytes(), "{proof:?}");
        let replies = [Reply::broken(zip_bytes(), proof, 20_000), Reply::wrong(other_bytes(), proof)];
        let (wrong, _) = rig.zip(replies).await;
        assert!(is_broken(&wrong), "{proof:?}: {wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_both_die_the_client_sees_it() {
    let rig = Rig::start(|_| {}).await;
    for (first, second) in [(200_000, 250_000), (200_000, 10), (10, 200_000), (10, 20), (299_999, 299_999)] {
        let replies = [first, second].map(|at| Reply::broken(zip_bytes(), Proof::Header, at));
        let (answered, _) = rig.zip(replies).await;
        assert!(is_broken(&answered), "{first} {second}: {answered:?}");
    }
    let replies = [Reply::broken(zip_bytes(), Proof::Header, 10), Reply::Refusal(404, "not found: never heard of it")];
    let (refused, _) = rig.zip(replies).await;
    assert_eq!(refused.status, 502, "one center had it: it cannot be \"not found\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_stalls_or_drips_is_replaced() {
    let impatient = |config: &mut Config| {
        config.limits.upstream_stall = Period::millis(300);
        config.limits.upstream_rate_min = ByteSize::kib(100);
        config.limits.upstream_rate_window = Period::secs(1);
    };
    let rig = Rig::start(impatient).await;
    for ending in [Ending::Stall(200_000), Ending::Stall(10), Ending::Drip(200_000), Ending::Drip(10)] {
        let replies = [Reply::ending(zip_bytes(), Proof::Header, ending), Reply::right(zip_bytes(), Proof::Header)];
        let (answered, gets) = rig.zip(replies).await;
        assert_eq!((answered.body.unwrap(), gets), (zip_bytes(), 2), "{ending:?}");
    }
    let patient = |config: &mut Config| {
        config.limits.upstream_stall = Period::secs(20);
        config.limits.upstream_rate_min = ByteSize::new(0);
    };
    let replies = [Reply::ending(zip_bytes(), Proof::Header, Ending::Drip(299_980)), Reply::Refusal(500, "")];
    let (slow, gets) = Rig::start(patient).await.zip(replies).await;
    assert_eq!((slow.body.unwrap(), gets), (zip_bytes(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_that_is_wrong_is_asked_of_the_next_center() {
    let Rig { center, edge, .. } = Rig::start(|_| {}).await;
    for (number, proof) in [Proof::Header, Proof::Trailer, Proof::Head].into_iter().enumerate() {
        let path = format!("example.com/m{number}/@v/v1.0.0.info");
        center.reply_in_turn(&path, [Reply::lying("{-}", Digest::of(b"{}"), proof), Reply::right("{}", proof)]);
        let right = edge.get(&path).await;
        assert_eq!((right.status, right.text().as_str(), center.gets(&path)), (200, "{}", 2), "{proof:?}");
    }
    let metrics = edge.client.get(edge.admin_url("metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("modtier_integrity_failures_total{reason=\"digest\"}"), "{metrics}");
    center.reply(INFO, Reply::wrong("{}", Proof::Header));
    assert_eq!(edge.get(INFO).await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_is_wrong_is_broken_off() {
    let rig = Rig::start(|_| {}).await;
    for proof in [Proof::Header, Proof::Trailer, Proof::Head] {
        let wrong = Reply::lying(other_bytes(), Digest::of(&zip_bytes()), proof);
        let (answered, gets) = rig.zip([wrong, Reply::right(zip_bytes(), proof)]).await;
        assert!(is_broken(&answered), "{proof:?}: {answered:?}");
        assert_eq!(gets, 1, "{proof:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_disk_another_center_goes_on_as_well() {
    let rig = Rig::start(|_| {}).await;
    std::fs::remove_dir_all(rig.edge.edge().app.cache.spool_dir()).unwrap();
    for at in [0, 10, 65_536, 200_000] {
        for proof in [Proof::Header, Proof::Trailer, Proof::Head] {
            // The fill asks first, and finds that it cannot store.
            let right = Reply::right(zip_bytes(), proof);
            let replies = [right.clone(), Reply::broken(zip_bytes(), proof, at), right];
            let (passed, gets) = rig.zip(replies).await;
            assert_eq!((passed.status, passed.x_cache()), (200, "BYPASS"), "{at} {proof:?}");
            assert_eq!((passed.body.unwrap(), gets), (zip_bytes(), 3), "{at} {proof:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_is_not_held_up_by_a_client_that_does_not_read() {
    let Rig { center, edge, .. } = Rig::start(|_| {}).await;
    let large: Bytes = (0..30_000_000_u32).map(|i| u8::try_from(i % 249).unwrap()).collect::<Vec<u8>>().into();
    center.reply(ZIP, Reply::right(large.clone(), Proof::Trailer));
    let mut idle = edge.client.get(edge.url(ZIP)).send().await.unwrap();
    assert!(idle.chunk().await.unwrap().is_some());
    let whole = tokio::time::timeout(Duration::from_secs(30), edge.get(ZIP)).await.unwrap();
    assert_eq!((whole.body.unwrap(), center.gets(ZIP)), (large, 1));
    drop(idle);
}
