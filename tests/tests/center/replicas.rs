//! Two centers over PostgreSQL and S3 are one: whatever is asked of either, and whichever dies.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use modtier_tests::{
    BuiltModule, Cluster, ClusterBuilder, Fault, Module, ObjectServer, Origin, PostgresServer, Reply, Seed, Web,
};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Within what time the other center does what a dead one did.
const TAKEN_OVER: Duration = Duration::from_secs(30);

/// Kills of either center; `make deep` asks for more.
fn kills() -> u64 {
    std::env::var("MODTIER_REPLICA_KILLS").map_or(10, |kills| kills.parse().expect("a number of kills"))
}

/// What two centers share.
struct Shared {
    database: PostgresServer,
    objects: ObjectServer,
    dir: tempfile::TempDir,
}

impl Shared {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectServer::s3(&dir.path().join("objects")).await;
        let line = |(name, value): (&str, String)| format!("{name}={value}\n");
        let options = objects.options().into_iter().map(line).collect::<Vec<_>>().concat();
        std::fs::write(dir.path().join("options"), options).unwrap();
        Self { database: PostgresServer::start().await, objects, dir }
    }

    /// A center on it; its upstream is this origin.
    fn replica(&self, origin: &Origin) -> ClusterBuilder {
        let options: &Path = &self.dir.path().join("options");
        Cluster::of(origin)
            .center_env("MODTIER_CENTER_STORAGE_METADATA", &self.database.url())
            .center_env("MODTIER_CENTER_STORAGE_BLOBS_URL", self.objects.url())
            .center_env("MODTIER_CENTER_STORAGE_BLOBS_OPTIONS_FILE", &options.display().to_string())
    }
}

fn module(name: &str, size: usize) -> BuiltModule {
    Module::new(name, "v1.0.0").package().ballast(size, 7).build()
}

async fn head(cluster: &Cluster) -> String {
    let repos = cluster.center_web().get("api/v1/repos").await.json();
    let repos = repos["repos"].as_array().unwrap();
    let found = repos.iter().find(|repo| repo["name"] == "golang-virtual").unwrap();
    found["head"].as_str().unwrap().to_owned()
}

async fn get_after(web: &Web, path: &str, change: &str) -> Reply {
    Web::send(web.request(Method::GET, path).header("X-Min-Change-Id", change)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_center_has_done_the_other_knows() {
    let shared = Shared::start().await;
    let origin = Origin::start().await;
    let (one, two) = (shared.replica(&origin).start().await, shared.replica(&origin).start().await);
    let other = two.repository_web("golang-virtual");

    // Read-your-writes at the other center, at once; small and large bodies; owned there from then on, too.
    for (number, size) in [(0, 100), (1, 200_000)] {
        let published = module(&format!("corp.example/m{number}"), size);
        one.publish_new(&published).await;
        let list = get_after(&other, &format!("{}/@v/list", published.path), &head(&one).await).await;
        assert_eq!((list.status, list.text().as_str()), (200, "v1.0.0\n"));
        let zip = other.get(&published.zip_path()).await;
        assert!(zip.is_whole() && zip.body == published.zip, "{}", zip.status);
        assert_eq!(two.publish(&published).await.unwrap().status, 200, "the same bytes are there already");
        assert_eq!(origin.asked(&published.path), Vec::<String>::new());
    }

    // Asked of both at once, fetched once; told once.
    let fetched = module("example.com/fetched", 3_000_000);
    origin.publish(&fetched);
    origin.fault(".zip", Fault::Slow(3_000_000));
    let webs = [one.repository_web("golang-virtual"), other];
    let asking = (0..12).map(|number| {
        let (web, fetched) = (webs[number % 2].clone(), &fetched);
        async move {
            let zip = web.get(&fetched.zip_path()).await;
            assert!(zip.is_whole() && zip.body == fetched.zip, "{}", zip.status);
            let list = web.get(&format!("{}/@v/list", fetched.path)).await;
            assert_eq!((list.status, list.text().as_str()), (200, "v1.0.0\n"));
        }
    });
    futures_util::future::join_all(asking).await;
    assert_eq!(origin.count(&fetched.zip_path()), 1);
    assert_eq!(origin.asked("@v/list").len(), 1);
    let told = changes(&one).await;
    assert_eq!(told.iter().filter(|change| change["module_id"] == "example.com/fetched").count(), 1, "{told:?}");
    assert_eq!(told, changes(&two).await);

    // A change that neither has seen: the client is told to come back, never given what is older.
    let (epoch, seq) = told.last().unwrap()["id"].as_str().unwrap().split_once('-').unwrap();
    let ahead = format!("{epoch}-{}", seq.parse::<u64>().unwrap() + 1);
    assert_eq!(get_after(&webs[1], "corp.example/m0/@v/list", &ahead).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_of_a_dead_center_is_done_by_the_other() {
    let shared = Shared::start().await;
    let origins = [Origin::start().await, Origin::start().await];
    let mut one = shared.replica(&origins[0]).start().await;
    let mut two = shared.replica(&origins[1]).start().await;
    let both = format!("{},{}", one.center_url(), two.center_url());
    let edge = Cluster::of(&origins[0]).edge_env("MODTIER_EDGE_CENTERS", &both).start().await;
    let module = module("example.com/slow", 6_000_000);
    for origin in &origins {
        origin.publish(&module);
        origin.fault(&module.zip_path(), Fault::Slow(2_000_000));
    }
    let answer = edge.edge_web().request(Method::GET, &module.zip_path()).send().await.unwrap();
    let mut stream = answer.bytes_stream();
    let mut body = stream.next().await.unwrap().unwrap().to_vec();
    let asked = origins.iter().position(|origin| origin.count(&module.zip_path()) == 1).unwrap();
    assert_eq!(origins[1 - asked].count(&module.zip_path()), 0);
    origins[1 - asked].heal();
    let killed = Instant::now();
    [&mut one, &mut two][asked].center.kill9();
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.unwrap());
    }
    assert!(body == module.zip, "{} of {} bytes, or others", body.len(), module.zip.len());
    assert!(killed.elapsed() < TAKEN_OVER, "{:?}", killed.elapsed());
    assert_eq!(origins[1 - asked].count(&module.zip_path()), 1);
    assert_eq!(shared.database.query("SELECT count(*) FROM modtier_leases"), "0", "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_publish_is_lost_however_often_either_center_is_killed() {
    let mut seed = Seed::announced("kills of either center");
    let shared = Shared::start().await;
    let origin = Origin::start().await;
    let mut centers = [shared.replica(&origin).start().await, shared.replica(&origin).start().await];
    let acknowledged = Arc::new(Mutex::new(Vec::<BuiltModule>::new()));
    for round in 0..kills() {
        let (mut clients, stop) = (JoinSet::new(), CancellationToken::new());
        for (number, center) in centers.iter().enumerate() {
            for client in 0..3 {
                let web = center.repository_web("golang-local");
                // The first client of either publishes what the other's first does, at the same time.
                let name = if client == 0 { format!("b{round}") } else { format!("r{round}c{number}{client}") };
                clients.spawn(publish(web, center.token().to_owned(), name, stop.clone(), Arc::clone(&acknowledged)));
            }
        }
        tokio::time::sleep(Duration::from_millis(seed.within(50..600))).await;
        let victim = usize::try_from(seed.within(0..2)).unwrap();
        centers[victim].center.kill9();
        stop.cancel();
        while let Some(ended) = clients.join_next().await {
            // A panic of a client is this test's failure.
            ended.unwrap();
        }
        let kept = acknowledged.lock().unwrap().clone();
        check(&centers[1 - victim], &kept).await;
        centers[victim].restart_center().await;
    }
    let kept = acknowledged.lock().unwrap().clone();
    println!("{} acknowledged publishes over {} kills", kept.len(), kills());
    assert!(kept.len() as u64 > kills(), "hardly a publish was acknowledged: the test has shown nothing");
    for center in &centers {
        check(center, &kept).await;
        for module in &kept {
            let zip = center.repository_web("golang-local").get(&module.zip_path()).await;
            assert!(zip.is_whole() && zip.body == module.zip, "{}: {}", module.query(), zip.status);
        }
    }
}

/// Publishes until stopped or refused, and remembers what was acknowledged.
async fn publish(
    local: Web,
    token: String,
    name: String,
    stop: CancellationToken,
    acknowledged: Arc<Mutex<Vec<BuiltModule>>>,
) {
    for number in 0.. {
        let module = module(&format!("corp.example/{name}n{number}"), if number % 4 == 0 { 80_000 } else { 300 });
        let answer = local.put(&module.zip_path(), Some(&token), module.zip.clone()).await;
        let is_kept = answer.is_ok_and(|reply| matches!(reply.status, 200 | 201));
        if is_kept {
            acknowledged.lock().unwrap().push(module);
        }
        if !is_kept || stop.is_cancelled() {
            return;
        }
    }
}

/// Everything acknowledged is in the log, everything once, and no number is missing.
async fn check(center: &Cluster, acknowledged: &[BuiltModule]) {
    let told = changes(center).await;
    let numbers: Vec<u64> =
        told.iter().map(|change| change["id"].as_str().unwrap().split_once('-').unwrap().1.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let created: Vec<_> = told.iter().map(|change| change["module_id"].as_str().unwrap()).collect();
    let once: BTreeSet<_> = created.iter().collect();
    assert_eq!(once.len(), created.len(), "a version was created twice");
    for module in acknowledged {
        assert!(once.contains(&module.path.as_str()), "{} is lost", module.query());
    }
}

/// The whole change log.
async fn changes(center: &Cluster) -> Vec<Value> {
    let mut told: Vec<Value> = Vec::new();
    loop {
        let after = told.last().map_or("0-0", |change| change["id"].as_str().unwrap()).to_owned();
        let page =
            center.center_web().get(&format!("api/v1/repos/golang-virtual/changes?limit=1000&after={after}")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page: Vec<Value> = page.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if page.is_empty() {
            return told;
        }
        told.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_one_center_issues_or_revokes_counts_at_the_other() {
    let shared = Shared::start().await;
    let origin = Origin::start().await;
    let (one, two) = (shared.replica(&origin).start().await, shared.replica(&origin).start().await);
    let wanted = serde_json::json!({ "name": "auditor", "grants": ["admin"] });
    let request = one.center_web().request(Method::POST, "api/v1/tokens").bearer_auth(one.token());
    let issued = Web::send(request.body(wanted.to_string())).await.unwrap();
    assert_eq!(issued.status, 201, "{}", issued.text());
    let token = issued.json()["token"].as_str().unwrap().to_owned();
    let status = async || {
        let request = two.center_web().request(Method::GET, "api/v1/audit").bearer_auth(&token);
        Web::send(request).await.unwrap().status
    };
    let limit = Duration::from_secs(20);
    modtier_tests::until("the other one knows it", limit, async || status().await == 200).await;
    let request = one.center_web().request(Method::DELETE, "api/v1/tokens/auditor").bearer_auth(one.token());
    assert_eq!(Web::send(request).await.unwrap().status, 204);
    modtier_tests::until("the other one knows that too", limit, async || status().await == 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_under_way_is_ended_by_the_center_that_began_it_though_another_has_taken_over() {
    let shared = Shared::start().await;
    let origin = Origin::start().await;
    let large = module("example.com/large", 8_000_000);
    origin.publish(&large);
    origin.fault(&large.zip_path(), Fault::Slow(4_000_000));
    let mut center = shared.replica(&origin).start().await;
    let (web, path) = (center.repository_web("golang-virtual"), large.zip_path());
    let client = tokio::spawn(async move { web.get(&path).await });
    modtier_tests::until("the origin is asked", Duration::from_secs(20), async || origin.count(&large.zip_path()) > 0)
        .await;
    let mut old = center.hand_over_center().await;
    let reply = client.await.unwrap();
    assert!(reply.is_whole() && reply.body == large.zip, "{} of {}", reply.body.len(), large.zip.len());
    assert!(old.ended(Duration::from_secs(20)).await.success());
    origin.forget();
    assert_eq!(center.repository_web("golang-virtual").get(&large.zip_path()).await.body, large.zip);
    assert_eq!(origin.count(&large.zip_path()), 0, "it is kept");
}
