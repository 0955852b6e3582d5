//! What every engine and every object store must do: one suite, run on each.
//!
//! The servers are real ones, each test with its own: PostgreSQL as Debian has it, an S3 server over files. Of Azure there is
//! Microsoft's own emulation, of Google nothing but an imitation of ours.

mod bodies;
mod collection;
mod commits;
mod moving;
mod replicas;
mod scale;

use std::path::Path;

use modtier_tests::{AzureServer, GoogleServer, ObjectServer, PostgresServer};
use shared::change::{EventType, Kind};

use super::settings::BlobSettings;
use super::{Decision, Draft, Event, StorageSettings, Store, StoreConfig, StoreError, Subject};

/// Where a store lies, so that it can be opened again.
struct Ground {
    directory: tempfile::TempDir,
    settings: StorageSettings,
}

impl Ground {
    /// RocksDB and files.
    fn embedded() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), settings: StorageSettings::default() }
    }

    /// What is shared, for one replica of it: only its data directory is its own.
    fn shared(database: &PostgresServer, objects: &ObjectServer) -> Self {
        let mut ground = Self::embedded();
        ground.settings.metadata = database.url();
        ground.settings.blobs = blobs(objects.url(), objects.options());
        ground
    }

    async fn open(&self) -> Store {
        Store::connect(&self.config(), &self.settings).await.unwrap()
    }

    fn config(&self) -> StoreConfig {
        StoreConfig::new(self.directory.path().join("data"))
    }
}

fn blobs(url: &str, options: Vec<(&'static str, String)>) -> BlobSettings {
    let options = options.into_iter().map(|(name, value)| (name.to_owned(), value));
    BlobSettings { url: url.to_owned(), options: options.collect(), options_file: None }
}

/// Opens the logs of a member and of what stands above it.
async fn open_logs(store: &Store) {
    for log in ["member", "above"] {
        store.open_log(log).await.unwrap();
    }
}

/// Commits a version and its CREATE.
async fn create(store: &Store, module: &str, version: &str) -> Result<(), StoreError> {
    let logs = ["member".to_owned(), "above".to_owned()];
    let subject = Subject { repository: "member", logs: &logs, module };
    let decide = |draft: &mut Draft| {
        if draft.record.announced {
            return Ok(Decision::Keep);
        }
        draft.record.announced = true;
        draft.events.push(event(version));
        Ok(Decision::Write)
    };
    store.commit_version(subject, version, &[], decide).await
}

fn event(version: &str) -> Event {
    Event {
        event_type: EventType::Create,
        kind: Kind::Version,
        version: Some(version.to_owned()),
        sha256: None,
        h1: None,
        reason: "test",
    }
}

/// Everything, on one ground.
async fn suite(ground: &Ground) {
    commits::suite(ground).await;
    let store = ground.open().await;
    bodies::suite(&store).await;
    collection::suite(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rocksdb_and_a_directory() {
    let ground = Ground::embedded();
    suite(&ground).await;
    collection::damage(&ground.open().await, &ground.directory.path().join("data/blobs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_and_s3() {
    let objects_dir = tempfile::tempdir().unwrap();
    let (database, objects) = (PostgresServer::start().await, ObjectServer::s3(objects_dir.path()).await);
    suite(&Ground::shared(&database, &objects)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_object_stores() {
    let directory = tempfile::tempdir().unwrap();
    let (google, azure) = (GoogleServer::start().await, AzureServer::start(directory.path()).await);
    for (url, options) in [("memory:", Vec::new()), (google.url(), google.options()), (azure.url(), azure.options())] {
        let mut ground = Ground::embedded();
        ground.settings.blobs = blobs(url, options);
        let store = ground.open().await;
        bodies::suite(&store).await;
        collection::suite(&store).await;
    }
}

#[tokio::test]
async fn a_second_center_on_the_same_data_is_told_what_to_do() {
    let ground = Ground::embedded();
    let _store = ground.open().await;
    let refused = Store::open(&ground.config()).err().unwrap().to_string();
    assert!(refused.contains("another process") && !refused.contains('\n'), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_without_a_secret() {
    let mut ground = Ground::embedded();
    let nowhere = Path::new("/nonexistent").display();
    ground.settings.metadata = format!("postgres://user:secret@localhost/x?host={nowhere}");
    let refused = Store::connect(&ground.config(), &ground.settings).await.err().unwrap().to_string();
    assert!(refused.starts_with("storage.metadata: ") && !refused.contains("secret"), "{refused}");
}
