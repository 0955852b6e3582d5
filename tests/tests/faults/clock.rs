//! Wall clocks that are set by 400 days, forth and back, under a running process and across its restart: nothing expires at once, nothing
//! is asked for again because of it, and changes go on.

use std::time::Duration;

use modtier_tests::{BuiltModule, Cluster, ClusterBuilder, Module, Origin, Process, WallClock, Web, until};

/// How long a changed clock may take to be seen, and what it touches to calm down: a retry has its own periods.
const LIMIT: Duration = Duration::from_secs(30);

/// How many modules are held when the clock jumps.
const MODULES: usize = 20;

/// Sets the clock, and waits until the process writes the other date into its log.
async fn jump(clock: &WallClock, days: i64, process: &Process, asked: impl AsyncFn()) {
    clock.set_off_by_days(days);
    let date = std::process::Command::new("date").args(["-u", "-d", &format!("{days} days"), "+%Y-%m-"]).output();
    let month = String::from_utf8(date.unwrap().stdout).unwrap();
    until(&format!("the log is of {}", month.trim()), LIMIT, async || {
        asked().await;
        process.log().contains(month.trim())
    })
    .await;
}

fn lib(index: usize) -> BuiltModule {
    Module::new(&format!("example.com/lib{index}"), "v1.0.0").package().build()
}

fn mutables(index: usize) -> [String; 2] {
    [format!("example.com/lib{index}/@v/list"), format!("example.com/lib{index}/@latest")]
}

/// What the edge held before the jump is served; `fresh` says whether it may also say that something is of unknown age.
async fn check_held(edge: &Web, fresh: bool) {
    for index in 0..MODULES {
        for extension in ["info", "mod", "zip"] {
            let path = lib(index).at(extension);
            let reply = edge.get(&path).await;
            assert!(reply.is_whole() && reply.header("x-cache") == "HIT", "{path}: {}", reply.header("x-cache"));
        }
        for path in mutables(index) {
            let reply = edge.get(&path).await;
            let cache = reply.header("x-cache");
            assert!(reply.is_whole(), "{path}: {}", reply.status);
            assert!(cache == "HIT" || (!fresh && cache == "STALE"), "{path}: {cache}");
        }
    }
}

async fn warm(edge: &Web, origin: &Origin) {
    for index in 0..MODULES {
        let module = lib(index);
        origin.publish(&module);
        origin.set_latest(&module);
        for path in mutables(index).into_iter().chain(["info", "mod", "zip"].map(|extension| module.at(extension))) {
            assert!(edge.get(&path).await.is_whole(), "{path} before the jump");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_clock_jumps_serves_what_it_holds() {
    let (origin, clock) = (Origin::start().await, WallClock::start());
    let following = |cluster: ClusterBuilder, (name, value): (&str, String)| cluster.edge_env(name, &value);
    let mut cluster = clock.variables().into_iter().fold(Cluster::of(&origin), following).start().await;
    let edge = cluster.edge_web();
    warm(&edge, &origin).await;
    for days in [400, -400] {
        origin.forget();
        let touched = async || assert_eq!(edge.get(&lib(0).at("info")).await.status, 200);
        jump(&clock, days, &cluster.edge, touched).await;
        check_held(&edge, true).await;
        cluster.center.kill9();
        cluster.restart_edge().await;
        check_held(&edge, false).await;
        cluster.restart_center().await;
        until("everything is fresh again", LIMIT, async || {
            let mut stale = 0;
            for path in (0..MODULES).flat_map(mutables) {
                let reply = edge.get(&path).await;
                assert!(reply.is_whole(), "{path}: {}", reply.status);
                stale += usize::from(reply.header("x-cache") == "STALE");
            }
            stale == 0
        })
        .await;
        assert_eq!(origin.seen(), [], "the jump by {days} days reached the origin");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_whose_clock_jumps_goes_on_publishing_and_its_edges_follow() {
    let (origin, clock) = (Origin::start().await, WallClock::start());
    let following = |cluster: ClusterBuilder, (name, value): (&str, String)| cluster.center_env(name, &value);
    let mut cluster = clock.variables().into_iter().fold(Cluster::of(&origin), following).start().await;
    let (edge, center) = (cluster.edge_web(), cluster.center_web());
    let mut newest = 0;
    for days in [0, 400, -400] {
        if days != 0 {
            let touched = async || assert_eq!(center.get("healthz").await.status, 200);
            jump(&clock, days, &cluster.center, touched).await;
        }
        for restarted in [false, true] {
            if restarted {
                cluster.restart_center().await;
            }
            newest += 1;
            let version = format!("v1.{newest}.0");
            cluster.publish_new(&Module::new("corp.example/own", &version).package().build()).await;
            until(&format!("{version} is in the edge's list, {days} days away"), LIMIT, async || {
                edge.get("corp.example/own/@v/list").await.text().contains(&version)
            })
            .await;
        }
    }
}
