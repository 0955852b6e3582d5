//! kill -9 at random moments in the middle of fills: what is stored is right or absent, what was acknowledged is there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modtier_tests::{BuiltModule, Cluster, Fault, Module, Origin, Seed, Web, objects};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many modules the clients fetch.
const MODULES: usize = 24;
/// After so many rounds most of them are held, and new versions take their place.
const ROUNDS: u64 = 4;

/// Kills of each of the two servers; `make deep` asks for more.
fn kills_each() -> u64 {
    std::env::var("MODTIER_KILLS").map_or(25, |kills| kills.parse().expect("MODTIER_KILLS is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_wrong_and_nothing_lost_after_kills_of_the_edge() {
    survive("edge").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_wrong_and_nothing_lost_after_kills_of_the_center() {
    survive("center").await;
}

/// What the clients of all rounds have come by.
#[derive(Debug, Default)]
struct Tally {
    /// Publishes that were answered 201.
    acknowledged: Mutex<Vec<BuiltModule>>,
    /// Downloads that began with 200 and did not end.
    broken_off: AtomicUsize,
}

async fn survive(victim: &str) {
    let mut seed = Seed::announced(&format!("kills of the {victim}"));
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).start().await;
    let tally = Arc::new(Tally::default());
    let mut modules = Arc::default();
    for round in 0..kills_each() {
        if round.is_multiple_of(ROUNDS) {
            modules = new_modules(round);
            modules.iter().for_each(|module| origin.publish(module));
        }
        // At these rates a large zip takes 0.1 to 0.35 s: as long as a server lives in a round.
        origin.fault(".zip", Fault::Slow(usize::try_from(seed.within(2..8)).unwrap() * 1024 * 1024));
        let (mut clients, stop) = (JoinSet::new(), CancellationToken::new());
        for _ in 0..8 {
            let first = usize::try_from(seed.within(0..MODULES as u64)).unwrap();
            clients.spawn(fetch(cluster.edge_web(), Arc::clone(&modules), first, Arc::clone(&tally)));
        }
        let publisher =
            Publisher { local: cluster.repository_web("golang-local"), token: cluster.token().to_owned(), round };
        clients.spawn(publisher.run(stop.clone(), Arc::clone(&tally)));
        tokio::time::sleep(Duration::from_millis(seed.within(1..400))).await;
        if victim == "edge" {
            cluster.edge.kill9();
        } else {
            cluster.center.kill9();
        }
        stop.cancel();
        while let Some(ended) = clients.join_next().await {
            // A panic of a client is this test's failure.
            ended.unwrap();
        }
        if victim == "edge" {
            cluster.restart_edge().await;
        } else {
            cluster.restart_center().await;
        }
        check_held(&cluster, &modules).await;
        let kept = tally.acknowledged.lock().unwrap().clone();
        check_published(&cluster, &kept).await;
    }
    let (kept, broken_off) = (tally.acknowledged.lock().unwrap().len(), tally.broken_off.load(Ordering::Relaxed));
    let bodies = ["edge", "center"].map(|tier| objects::bodies(&cluster.data(tier)).len());
    println!("{victim}: {kept} acknowledged publishes, {broken_off} downloads broken off, bodies on disk {bodies:?}");
    assert!(kept > 0, "no publish was acknowledged: the test has shown nothing");
    assert!(broken_off > 0, "no kill came in the middle of a download: the test has shown nothing");
}

/// Modules that nobody holds yet: some small, some large enough to be streamed.
fn new_modules(round: u64) -> Arc<Vec<BuiltModule>> {
    let module = |index: usize| {
        let size = if index.is_multiple_of(3) { 10_000 } else { 700_000 };
        let name = format!("example.com/m{index}");
        Module::new(&name, &format!("v1.{round}.0")).package().ballast(size, index as u64 * 1000 + round).build()
    };
    Arc::new((0..MODULES).map(module).collect())
}

/// Fetches module after module; a complete body is right.
async fn fetch(web: Web, modules: Arc<Vec<BuiltModule>>, first: usize, tally: Arc<Tally>) {
    for module in (0..MODULES).map(|step| &modules[(first + step * 5) % MODULES]) {
        let Ok(reply) = web.try_get(&module.zip_path()).await else { continue };
        assert!(!reply.is_whole() || reply.body == module.zip, "a complete wrong body of {}", module.query());
        if reply.status == 200 && !reply.complete {
            tally.broken_off.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Publisher {
    local: Web,
    token: String,
    round: u64,
}

impl Publisher {
    /// Publishes until stopped or refused, and remembers what was acknowledged.
    async fn run(self, stop: CancellationToken, tally: Arc<Tally>) {
        for number in 0.. {
            let size = if number % 4 == 0 { 80_000 } else { 300 };
            let path = format!("corp.example/k{}n{number}", self.round);
            let module = Module::new(&path, "v1.0.0").package().ballast(size, self.round * 1000 + number).build();
            let answer = self.local.put(&module.zip_path(), Some(&self.token), module.zip.clone()).await;
            let is_kept = answer.is_ok_and(|reply| reply.status == 201);
            if is_kept {
                tally.acknowledged.lock().unwrap().push(module);
            }
            if !is_kept || stop.is_cancelled() {
                return;
            }
        }
    }
}

/// Both tiers: the death of one leaves the other with half a body in its hands.
async fn check_held(cluster: &Cluster, modules: &[BuiltModule]) {
    for (tier, web) in [("edge", cluster.edge_web()), ("center", cluster.repository_web("golang-virtual"))] {
        objects::verify(&cluster.data(tier));
        for module in modules {
            let held = web.get_held(&module.zip_path()).await;
            let is_right = held.is_whole() && held.body == module.zip;
            assert!(is_right || held.status == 404, "{tier} holds of {}: {}", module.query(), held.status);
        }
    }
}

async fn check_published(cluster: &Cluster, acknowledged: &[BuiltModule]) {
    let local = cluster.repository_web("golang-local");
    for module in acknowledged {
        let reply = local.get(&module.zip_path()).await;
        assert!(reply.is_whole() && reply.body == module.zip, "{} was acknowledged: {}", module.query(), reply.status);
        let list = local.get(&format!("{}/@v/list", module.path)).await;
        assert_eq!(list.text(), "v1.0.0\n", "{}", module.query());
    }
}
