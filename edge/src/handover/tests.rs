//! The conversation, with an edge on one side and a process that fails on the other.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use shared::handover::{ANSWER_PATIENCE, Channel, PROTOCOL, SOCKET, Word, find, offer};

use super::*;
use crate::server::Entrance;
use crate::start::Origin;
use crate::testing::{Center, Proof, Reply, TestEdge};

const PATH: &str = "example.com/a/@v/v1.0.0.zip";

/// An edge that can be taken over and holds a zip that is too large for memory.
async fn edge_with_a_zip() -> (Center, TestEdge, oneshot::Receiver<u32>) {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    center.reply(PATH, Reply::right(vec![b'z'; 2_000_000], Proof::Header));
    assert_eq!(edge.get(PATH).await.x_cache(), "MISS");
    let (taken, receiver) = oneshot::channel();
    let (app, listeners) = (Arc::downgrade(&edge.edge().app), Arc::clone(&edge.edge().listeners));
    offer(&data_dir(&edge), Offer { app, listeners, taken }).unwrap();
    (center, edge, receiver)
}

fn data_dir(edge: &TestEdge) -> PathBuf {
    edge.edge().app.config().data_dir.clone()
}

fn connect(edge: &TestEdge) -> Channel {
    Channel::new(UnixStream::connect(data_dir(edge).join(SOCKET)).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_dies_leaves_the_old_one_as_it_was() {
    let (center, edge, _taken) = edge_with_a_zip().await;
    let mode = fs::metadata(data_dir(&edge).join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for _ in 0..3 {
        let dir = data_dir(&edge);
        tokio::task::spawn_blocking(move || {
            let mut new = find(&dir).unwrap().unwrap();
            new.release().unwrap();
            // Here it dies: it has the sockets, and the database is closed.
        })
        .await
        .unwrap();
        // Waits in the kernel's queue until the old one goes on.
        let answered = edge.get(PATH).await;
        assert_eq!((answered.status, answered.x_cache()), (200, "HIT"));
        assert_eq!(answered.body.unwrap().len(), 2_000_000);
    }
    let ready = edge.client.get(edge.admin_url("readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    center.reply("example.com/b/@v/list", Reply::right("v1.0.0\n", Proof::Header));
    assert_eq!(edge.get("example.com/b/@v/list").await.x_cache(), "MISS");
    assert_eq!(edge.get("example.com/b/@v/list").await.x_cache(), "HIT", "it stores again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_one_has_the_sockets_and_what_is_held() {
    let (_center, edge, taken) = edge_with_a_zip().await;
    let (config, listen) = ((**edge.edge().app.config()).clone(), edge.service());
    let new = tokio::task::spawn_blocking(move || {
        let predecessor = find(&config.data_dir).unwrap();
        assert!(predecessor.is_some());
        crate::start::Edge::start_from(config, Origin { predecessor, ..Origin::default() }).unwrap()
    });
    let new = new.await.unwrap();
    assert_eq!(new.address(Entrance::Plain).unwrap(), listen, "port 0 is the port that clients know");
    assert_eq!(taken.await.unwrap(), std::process::id());
    edge.edge().leave(Duration::from_secs(5), Duration::ZERO);
    let answered = edge.get(PATH).await;
    assert_eq!((answered.status, answered.x_cache()), (200, "HIT"));
    assert!(!new.app.is_draining());
    tokio::task::spawn_blocking(move || new.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_sent_away_and_change_nothing() {
    let (_center, edge, _taken) = edge_with_a_zip().await;
    let refused = tokio::task::block_in_place(|| {
        let mut channel = connect(&edge);
        channel.say(&Word::Hello { protocol: 99, version: "9".into(), pid: 1 }).unwrap();
        channel.hear(ANSWER_PATIENCE).unwrap()
    });
    assert!(matches!(refused, Some(Word::Kept { reason }) if reason.contains("99")));
    tokio::task::block_in_place(|| {
        let mut channel = connect(&edge);
        channel.say(&Word::Take).unwrap();
        assert_eq!(channel.hear(ANSWER_PATIENCE).unwrap(), None);
    });
    assert_eq!(edge.get(PATH).await.x_cache(), "HIT");
    edge.edge().app.leaving.send_replace(Some(Duration::ZERO));
    let dir = data_dir(&edge);
    let error = tokio::task::spawn_blocking(move || find(&dir).unwrap_err()).await.unwrap();
    assert!(error.contains("stopping") && error.lines().count() == 1, "{error}");
}

/// The old side, as far as `upto` words of its own.
fn dying_predecessor(dir: &Path, listener: std::net::TcpListener, upto: usize) -> std::thread::JoinHandle<()> {
    let socket = UnixListener::bind(dir.join(SOCKET)).unwrap();
    std::thread::spawn(move || {
        let mut channel = Channel::new(socket.accept().unwrap().0).unwrap();
        let words = [Word::Listeners { protocol: PROTOCOL, names: vec!["listen".into()] }, Word::Closed];
        for (number, word) in words.iter().take(upto).enumerate() {
            channel.hear(ANSWER_PATIENCE).unwrap().unwrap();
            let sockets = [listener.as_fd()];
            channel.say_with(word, if number == 0 { &sockets } else { &[] }).unwrap();
        }
        channel.hear(ANSWER_PATIENCE).unwrap().unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_process_that_dies_is_replaced_all_the_same() {
    for upto in 0..=2 {
        let center = Center::start().await;
        center.reply("example.com/a/@v/list", Reply::right("v1.0.0\n", Proof::Header));
        let dir = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let old = dying_predecessor(dir.path(), listener, upto);
        let data_dir = dir.path().to_owned();
        let predecessor = tokio::task::spawn_blocking(move || find(&data_dir).unwrap()).await.unwrap();
        assert_eq!(predecessor.is_some(), upto > 0);
        let origin = Origin { predecessor, ..Origin::default() };
        let edge = tokio::task::block_in_place(|| {
            TestEdge::start_from(&center, origin, |config| config.data_dir = dir.path().to_owned())
        });
        old.join().unwrap();
        assert_eq!(edge.service() == address, upto > 0, "after {upto}");
        assert_eq!(edge.get("example.com/a/@v/list").await.status, 200);
    }
}

#[test]
fn without_a_running_edge_there_is_nobody_to_take_over_from() {
    let dir = tempfile::tempdir().unwrap();
    assert!(find(dir.path()).unwrap().is_none());
    // One that was killed leaves its socket behind.
    drop(UnixListener::bind(dir.path().join(SOCKET)).unwrap());
    assert!(dir.path().join(SOCKET).exists());
    assert!(find(dir.path()).unwrap().is_none());
    assert!(find(&dir.path().join("missing")).unwrap().is_none());
}
