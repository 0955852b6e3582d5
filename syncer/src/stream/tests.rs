//! The relay's steps against a real redis-server.

use modtier_tests::RedisServer;
use shared::change::anything_changed;
use shared::redis::RedisSettings;
use tempfile::TempDir;

use super::*;

const LEASE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn id(seq: u64) -> ChangeId {
    ChangeId { epoch: 7, seq }
}

fn change(seq: u64) -> Change {
    anything_changed(id(seq), "r")
}

/// A change that was recorded so long ago.
fn aged(seq: u64, age: Duration) -> Change {
    Change { timestamp: now_seconds() - age.as_secs(), ..change(seq) }
}

struct Place {
    server: RedisServer,
    _folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { server: RedisServer::start(folder.path()).await, _folder: folder }
    }

    async fn stream(&self, entries_max: u64) -> Stream {
        let settings = RedisSettings { url: self.server.url(), ..RedisSettings::default() };
        let redis = Redis::new(&settings).unwrap().unwrap();
        Store::new(redis, "r", entries_max).connect().await.unwrap()
    }

    async fn ids(&self) -> Vec<String> {
        let entries: Vec<(String, Vec<String>)> = self.server.run(&["XRANGE", "meta:r", "-", "+"]).await;
        entries.into_iter().map(|(id, _)| id).collect()
    }
}

async fn lead(stream: &mut Stream) -> Fence {
    match stream.lead(LEASE).await.unwrap() {
        Lead::Ours(fence) => fence,
        Lead::Taken { by } => panic!("{by} leads"),
    }
}

#[tokio::test]
async fn one_leads_and_who_was_deposed_changes_nothing() {
    let place = Place::new().await;
    let (mut one, mut two) = (place.stream(1000).await, place.stream(1000).await);
    let old = lead(&mut one).await;
    assert_eq!(two.lead(LEASE).await.unwrap(), Lead::Taken { by: one.holder.clone() });
    assert_eq!(one.add(&old, &[change(1), change(2)]).await.unwrap(), Added { published: 2, refused: 0 });
    one.beat(&old, Some(id(2)), LEASE).await.unwrap();

    // The lease runs out while the one that holds it sleeps.
    let () = place.server.run(&["DEL", "lead:r"]).await;
    assert_eq!(one.add(&old, &[change(3)]).await, Err(WriteError::NotLeading), "nobody's lease is not ours");
    let new = lead(&mut two).await;
    assert!(new.term > old.term);
    assert_eq!(two.add(&new, &[change(2), change(3)]).await.unwrap(), Added { published: 1, refused: 1 });
    assert_eq!(one.add(&old, &[change(4)]).await, Err(WriteError::NotLeading));
    assert_eq!(one.beat(&old, Some(id(9)), LEASE).await, Err(WriteError::NotLeading));
    assert_eq!(one.trim(&old, id(3)).await, Err(WriteError::NotLeading));
    assert_eq!(one.resign(&old).await, Err(WriteError::NotLeading));
    assert_eq!(place.ids().await, ["7-1", "7-2", "7-3"]);
    let sign: String = place.server.run(&["GET", "relay:r"]).await;
    assert_eq!(sign, "7-2");

    // Its own earlier term is as little worth.
    let newer = lead(&mut two).await;
    assert_eq!(two.add(&new, &[change(4)]).await, Err(WriteError::NotLeading));
    two.resign(&newer).await.unwrap();
    lead(&mut one).await;
}

#[tokio::test]
async fn the_lease_is_held_by_beats_and_the_sign_of_life_waits_for_the_place() {
    let place = Place::new().await;
    let mut stream = place.stream(1000).await;
    let Lead::Ours(fence) = stream.lead(Duration::from_secs(5)).await.unwrap() else { panic!("nobody else leads") };
    stream.beat(&fence, None, LEASE).await.unwrap();
    let left: i64 = place.server.run(&["PTTL", "lead:r"]).await;
    assert!(left > 50_000, "{left}");
    let sign: Option<String> = place.server.run(&["GET", "relay:r"]).await;
    assert_eq!(sign, None);
    stream.beat(&fence, Some(id(4)), LEASE).await.unwrap();
    let left: i64 = place.server.run(&["TTL", "relay:r"]).await;
    assert!((1..=5).contains(&left), "{left}");
}

#[tokio::test]
async fn trimming_goes_by_age_and_id_and_adding_by_the_bound() {
    let place = Place::new().await;
    let mut stream = place.stream(300).await;
    assert_eq!(stream.first_younger(DAY).await.unwrap(), None);
    let fence = lead(&mut stream).await;
    let old: Vec<Change> = (1..=150).map(|seq| aged(seq, DAY * 2)).collect();
    stream.add(&fence, &old).await.unwrap();
    assert_eq!(stream.first_younger(DAY).await.unwrap(), None, "all are too old");
    assert_eq!(stream.first_younger(DAY * 3).await.unwrap(), Some(id(1)), "none is");
    let young: Vec<Change> = (151..=250).map(change).collect();
    stream.add(&fence, &young).await.unwrap();
    assert_eq!(stream.first_younger(DAY).await.unwrap(), Some(id(151)));

    // Redis trims by whole nodes of a hundred entries.
    assert!(stream.trim(&fence, id(151)).await.unwrap() >= 100);
    let left = place.ids().await;
    assert!((100..=200).contains(&left.len()), "{}", left.len());
    assert_eq!(left.last().map(String::as_str), Some("7-250"));
    assert_eq!(stream.last_id().await.unwrap(), id(250));

    let more: Vec<Change> = (251..=700).map(change).collect();
    stream.add(&fence, &more).await.unwrap();
    assert!(place.ids().await.len() <= 400, "the bound holds without any trimming");
}

#[tokio::test]
async fn the_slowest_is_who_lives_and_a_group_goes_after_its_time() {
    let place = Place::new().await;
    let mut stream = place.stream(1000).await;
    let fence = lead(&mut stream).await;
    assert_eq!(stream.slowest().await.unwrap(), None, "there is no stream yet");
    stream.add(&fence, &[change(1)]).await.unwrap();
    for edge in ["quick", "slow", "elsewhere", "gone", "new"] {
        let () = place.server.run(&["XGROUP", "CREATE", "meta:r", &format!("edge:{edge}"), "0"]).await;
    }
    let () = place.server.run(&["XGROUP", "CREATE", "meta:r", "an-operators", "0"]).await;
    for (edge, repo, cursor) in [("quick", "r", "7-90"), ("slow", "r", "7-30"), ("elsewhere", "other", "7-1")] {
        let _: i64 = place.server.run(&["HSET", &format!("edge:{edge}"), "repo", repo, "cursor", cursor]).await;
        let _: i64 = place.server.run(&["ZADD", "edges:r", &now_seconds().to_string(), edge]).await;
    }
    let long_ago = (now_seconds() - 2 * DAY.as_secs()).to_string();
    let _: i64 = place.server.run(&["ZADD", "edges:r", &long_ago, "gone"]).await;
    // These have no group: they lost it, or have followed the feed alone.
    let _: i64 = place.server.run(&["ZADD", "edges:r", &long_ago, "gone-before"]).await;
    let _: i64 = place.server.run(&["ZADD", "edges:r", &now_seconds().to_string(), "by-feed"]).await;
    assert_eq!(stream.slowest().await.unwrap(), Some(id(30)));

    assert_eq!(stream.retire(&fence, DAY).await.unwrap(), ["gone"]);
    assert!(stream.retire(&fence, DAY).await.unwrap().is_empty());
    let groups: Vec<redis::Value> = place.server.run(&["XINFO", "GROUPS", "meta:r"]).await;
    assert_eq!(groups.len(), 5, "an operator's group is not ours to remove");
    let lived: Option<u64> = place.server.run(&["ZSCORE", "edges:r", "new"]).await;
    assert!(lived.is_some(), "the time of one that said nothing yet begins now");
    let left: Vec<String> = place.server.run(&["ZRANGE", "edges:r", "0", "-1"]).await;
    assert!(!left.iter().any(|edge| edge.starts_with("gone")), "{left:?}");
    assert!(left.iter().any(|edge| edge == "by-feed"), "{left:?}");
}

#[tokio::test]
async fn what_redis_refuses_is_an_outage_and_another_value_is_not() {
    let place = Place::new().await;
    let mut stream = place.stream(1000).await;
    let fence = lead(&mut stream).await;
    let () = place.server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = stream.add(&fence, &[change(1)]).await;
    assert!(matches!(&refused, Err(WriteError::Unavailable(why)) if why.contains("OOM")), "{refused:?}");
    let () = place.server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let () = place.server.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let refused = stream.add(&fence, &[change(1)]).await;
    assert!(matches!(&refused, Err(WriteError::Unavailable(why)) if why.contains("ReadOnly")), "{refused:?}");
    let () = place.server.run(&["REPLICAOF", "NO", "ONE"]).await;
    let () = place.server.run(&["SET", "meta:r", "text"]).await;
    assert!(matches!(stream.add(&fence, &[change(1)]).await, Err(WriteError::NotAStream(_))));
    assert!(matches!(stream.last_id().await, Err(WriteError::NotAStream(_))));
}
