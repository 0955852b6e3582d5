//! A center, an edge, a syncer and what a developer sees of them, while something is wrong with Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use modtier_tests::{Cluster, ClusterBuilder, Module, Origin, Web, until, until_some};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

const MODULE: &str = "corp.example/lib";
const LIST: &str = "corp.example/lib/@v/list";

/// How soon a publish must be seen whatever is wrong: the relay's sign of life lasts 5 s.
pub(super) const VISIBLE: Duration = Duration::from_secs(10);

/// How soon changes must come through the stream again when nothing is wrong any more.
pub(super) const RETURN: Duration = Duration::from_secs(20);

/// An edge on which time alone makes nothing stale: only a change shows a new version.
pub(super) fn lasting(origin: &Origin) -> ClusterBuilder {
    let periods = ["MEMORY", "HOT", "STABLE", "OTHER", "UNHEALTHY"];
    periods.iter().fold(Cluster::of(origin), |cluster, period| {
        cluster.edge_env(&format!("MODTIER_EDGE_FRESHNESS_{period}"), "1h")
    })
}

/// Asks the edge without pause; nothing may fail or take long.
struct Visitor {
    asked: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    visits: JoinHandle<()>,
}

impl Visitor {
    fn start(web: Web) -> Self {
        let (asked, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, failures) = (Arc::clone(&asked), Arc::clone(&failed));
        let visits = tokio::spawn(async move {
            loop {
                for path in [LIST, "corp.example/lib/@v/v1.0.0.info", "corp.example/lib/@v/v1.0.0.zip"] {
                    let at = Instant::now();
                    match web.try_get(path).await {
                        Ok(reply) if reply.status == 200 && reply.complete && at.elapsed() < Duration::from_secs(3) => {
                        }
                        Ok(reply) => failures.lock().push(format!("{path}: {} in {:?}", reply.status, at.elapsed())),
                        Err(error) => failures.lock().push(format!("{path}: {error}")),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { asked, failed, visits }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.visits.abort();
    }
}

pub(super) struct Scene {
    pub(super) cluster: Cluster,
    _origin: Origin,
    published: u64,
    visitor: Option<Visitor>,
}

impl Scene {
    /// Changes come through the stream, and one version is held.
    pub(super) async fn start(make: impl FnOnce(ClusterBuilder) -> ClusterBuilder) -> Self {
        let origin = Origin::start().await;
        let cluster = make(lasting(&origin)).start().await;
        let mut scene = Self { cluster, _origin: origin, published: 0, visitor: None };
        scene.publish().await;
        until("the first version is there", RETURN, async || {
            scene.cluster.edge_web().get(LIST).await.text() == "v1.0.0\n"
        })
        .await;
        scene.returns("the start").await;
        scene
    }

    /// From here on, no request may fail.
    pub(super) fn visited(&mut self) {
        self.visitor = Some(Visitor::start(self.cluster.edge_web()));
    }

    /// What happens now is a pause of the edge itself: nobody asks it.
    pub(super) fn unvisited(&mut self) {
        self.nothing_failed();
        self.visitor = None;
    }

    /// Publishes the next version.
    pub(super) async fn publish(&mut self) {
        let version = format!("v1.{}.0", self.published);
        self.cluster.publish_new(&Module::new(MODULE, &version).package().build()).await;
        self.published += 1;
    }

    /// Publishes, and waits until a developer sees it.
    pub(super) async fn publish_is_seen(&mut self, when: &str) {
        self.publish().await;
        self.is_right(when).await;
    }

    /// Waits until the list has all that was published.
    pub(super) async fn is_right(&self, when: &str) {
        let (edge, at) = (self.cluster.edge_web(), Instant::now());
        let newest = format!("v1.{}.0", self.published - 1);
        until(&format!("{newest} is seen, {when}"), VISIBLE, async || {
            edge.get(LIST).await.text().lines().any(|version| version == newest)
        })
        .await;
        eprintln!("{when}: seen in {:?}", at.elapsed());
    }

    /// Changes come another way than through the stream.
    pub(super) async fn leaves(&self, when: &str) {
        until(&format!("the stream is left, {when}"), VISIBLE, async || self.cluster.channel().await != "stream").await;
    }

    /// Waits until changes come through the stream, and sees one come. The way may change once more after it was seen.
    pub(super) async fn returns(&mut self, when: &str) {
        let at = Instant::now();
        loop {
            until(&format!("changes come through the stream after {when}"), RETURN, async || {
                self.cluster.channel().await == "stream"
            })
            .await;
            let before = self.by_stream().await;
            self.publish_is_seen(&format!("after {when}")).await;
            if self.by_stream().await > before {
                break;
            }
            assert!(at.elapsed() < RETURN, "a change after {when} comes through the stream");
        }
        eprintln!("{when}: back in the stream in {:?}", at.elapsed());
        self.nothing_failed();
    }

    /// How many changes came through the stream.
    async fn by_stream(&self) -> f64 {
        let figures = self.cluster.admin_web().get("metrics").await.text();
        let line = figures.lines().find_map(|line| line.strip_prefix("modtier_changes_total{channel=\"stream\"} "));
        line.map_or(0.0, |count| count.trim().parse().expect("a figure is a number"))
    }

    fn nothing_failed(&self) {
        let Some(visitor) = &self.visitor else { return };
        let failed = visitor.failed.lock();
        assert!(failed.is_empty(), "{failed:?}");
        assert!(visitor.asked.load(Ordering::Relaxed) > 0, "nobody asked");
    }

    /// Who leads, as the lease says, once somebody does who is not `other_than`.
    pub(super) async fn leader(&self, other_than: Option<u32>, limit: Duration) -> u32 {
        let redis = self.cluster.redis.as_ref().unwrap();
        until_some("a relay leads", limit, async || {
            let lease: Option<String> = redis.run(&["GET", "lead:golang-virtual"]).await;
            let pid = lease?.split('/').nth(1)?.parse().ok()?;
            (Some(pid) != other_than).then_some(pid)
        })
        .await
    }

    /// The ids in the stream, which must be without a hole.
    pub(super) async fn stream_is_whole(&self) {
        let redis = self.cluster.redis.as_ref().unwrap();
        let entries: Vec<(String, Vec<String>)> = redis.run(&["XRANGE", "meta:golang-virtual", "-", "+"]).await;
        let seqs: Vec<u64> = entries.iter().map(|(id, _)| id.split_once('-').unwrap().1.parse().unwrap()).collect();
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    }
}
