//! A store is moved to another place and back: everything is there, or no center opens it.

use bytes::Bytes;
use modtier_tests::{ObjectServer, PostgresServer};
use shared::change::{Change, ChangeId};

use super::{Ground, create, open_logs};
use crate::store::engine::Claim;
use crate::store::{Decision, Draft, Moved, NewBody, Placed, Store, StoreError, Subject, move_store};

/// Enough records for more than one page.
const VERSIONS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_moved_and_moved_back() {
    let objects_dir = tempfile::tempdir().unwrap();
    let (database, objects) = (PostgresServer::start().await, ObjectServer::s3(objects_dir.path()).await);
    let (old, new, back) = (Ground::embedded(), Ground::shared(&database, &objects), Ground::embedded());
    let large = fill(&old).await;
    let told = changes(&old.open().await).await;
    assert_eq!(told.len(), VERSIONS);

    let moved = move_from(&old, &new).await.unwrap();
    assert_eq!((moved.changes, moved.bodies, moved.written), (2 * VERSIONS as u64, 2, 2));
    assert!(moved.records > VERSIONS as u64, "{moved:?}");
    let refused = old.refused().await;
    assert!(refused.contains("it was moved"), "{refused}");
    let store = new.open().await;
    open_logs(&store).await;
    assert_eq!(changes(&store).await, told, "ids, epoch and all");
    assert_eq!(store.load(&large[0].stored).await.unwrap().unwrap().len(), 9_000_000);
    assert!(store.verify(|_, _| {}).await.unwrap().is_empty());
    create(&store, "example.com/after", "v1.0.0").await.unwrap();
    let on = changes(&store).await;
    let (last, before) = (on.last().unwrap().id, told.last().unwrap().id);
    assert_eq!((last.epoch, last.seq), (before.epoch, before.seq + 1), "the log goes on");

    // Not while a center has it, and not a second time into what is there.
    let elsewhere = Ground::shared(&database, &objects);
    let refused = move_from(&elsewhere, &back).await.unwrap_err().to_string();
    assert!(refused.contains("stop every center"), "{refused}");
    drop(store);
    // And no center while it is moved.
    let moving = Store::attach(&elsewhere.config(), &elsewhere.settings, Claim::Alone).await.unwrap();
    let refused = new.refused().await;
    assert!(refused.contains("being copied"), "{refused}");
    drop(moving);
    let refused = move_from(&new, &old).await.unwrap_err().to_string();
    assert!(refused.contains("not empty"), "{refused}");
    let refused = move_from(&Ground::embedded(), &back).await.unwrap_err().to_string();
    assert!(refused.contains("no metadata"), "{refused}");
    move_from(&new, &back).await.unwrap();
    let store = back.open().await;
    open_logs(&store).await;
    assert_eq!(changes(&store).await, on);
    assert!(store.verify(|_, _| {}).await.unwrap().is_empty());
    let refused = move_from(&back, &Ground::embedded()).await.unwrap_err().to_string();
    assert!(refused.contains("in use"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_broken_off_is_finished_by_another() {
    let objects_dir = tempfile::tempdir().unwrap();
    let (database, objects) = (PostgresServer::start().await, ObjectServer::s3(objects_dir.path()).await);
    let (old, new) = (Ground::embedded(), Ground::shared(&database, &objects));
    let large = fill(&old).await;
    // Broken off in the middle: a body at the old place is damaged.
    let hex = large[1].stored.digest.hex();
    let path = old.directory.path().join("data/blobs").join(&hex[..2]).join(&hex);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, vec![0; whole.len()]).unwrap();
    let refused = move_from(&old, &new).await.unwrap_err().to_string();
    assert!(refused.contains(&hex) && refused.contains("heal"), "{refused}");
    let refused = new.refused().await;
    assert!(refused.contains("was not finished"), "{refused}");

    // The old center goes on meanwhile.
    std::fs::write(&path, &whole).unwrap();
    let store = old.open().await;
    open_logs(&store).await;
    create(&store, "example.com/meanwhile", "v1.0.0").await.unwrap();
    let told = changes(&store).await;
    drop(store);
    // What lies at the new place may be damaged too.
    let there = objects_dir.path().join("modtier").join(&hex[..2]).join(&hex);
    std::fs::create_dir_all(there.parent().unwrap()).unwrap();
    std::fs::write(&there, vec![0; whole.len()]).unwrap();
    assert_eq!(move_from(&old, &new).await.unwrap().bodies, 2);
    let store = new.open().await;
    open_logs(&store).await;
    assert_eq!(changes(&store).await, told);
    assert!(store.verify(|_, _| {}).await.unwrap().is_empty());
}

impl Ground {
    async fn refused(&self) -> String {
        Store::connect(&self.config(), &self.settings).await.err().unwrap().to_string()
    }
}

async fn move_from(old: &Ground, new: &Ground) -> Result<Moved, StoreError> {
    let (mut steps, from, to) = (0, old.config(), new.config());
    let mut watch = |_, of| steps += usize::from(of > 0);
    let moved = move_store((&from, &old.settings), (&to, &new.settings), &mut watch).await;
    assert!(moved.is_err() || steps > 0, "progress was told");
    moved
}

/// Versions with a record of the log each, and two of them with a body that is an object.
async fn fill(ground: &Ground) -> [Placed; 2] {
    let store = ground.open().await;
    open_logs(&store).await;
    for number in 0..VERSIONS {
        create(&store, &format!("example.com/m{}", number % 7), &format!("v1.0.{number}")).await.unwrap();
    }
    let bodies = [body(&store, 9_000_000, 5).await, body(&store, 70_000, 6).await];
    let small = body(&store, 900, 7).await;
    let subject = Subject { repository: "member", logs: &[], module: "example.com/m0" };
    let decide = |draft: &mut Draft| {
        draft.record.zip = Some(bodies[0].stored);
        draft.record.gomod = Some(bodies[1].stored);
        draft.record.info = Some(small.stored);
        Ok::<_, StoreError>(Decision::Write)
    };
    let all = [bodies[0].clone(), bodies[1].clone(), small.clone()];
    store.commit_version(subject, "v1.0.0", &all, decide).await.unwrap();
    bodies
}

async fn body(store: &Store, len: usize, seed: u8) -> Placed {
    store.place(NewBody::Memory(Bytes::from(vec![seed; len])), 1).await.unwrap()
}

async fn changes(store: &Store) -> Vec<Change> {
    open_logs(store).await;
    store.change_log("above").unwrap().read_after(ChangeId::ZERO, 1000).await.unwrap()
}
