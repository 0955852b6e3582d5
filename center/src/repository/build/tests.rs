//! What is owned because it was published is known whenever it was published.

use std::time::Duration;

use modtier_tests::{PostgresServer, until};
use shared::change::{Change, ChangeId, anything_changed};
use shared::config::Period;
use shared::module::ModulePath;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::*;
use crate::repository::testing::{ToldVerifier, settings};
use crate::store::{StorageSettings, StoreConfig};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_at_another_replica_while_a_center_starts_is_owned_there_too() {
    let (database, directory) = (PostgresServer::start().await, tempfile::tempdir().unwrap());
    let mut storage = StorageSettings { metadata: database.url(), ..StorageSettings::default() };
    storage.blobs.url = "memory:".to_owned();
    let config = StoreConfig::new(directory.path().join("data"));
    let store = Store::connect(&config, &storage).await.unwrap();

    // The center that starts gets as far as reading what was published, and is held up there.
    let mut session = PgConnection::connect(&database.url()).await.unwrap();
    let mut held = session.begin().await.unwrap();
    sqlx::query("LOCK TABLE modtier_records IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let starting = tokio::spawn(start(store.clone()));
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'modtier_records'::regclass";
    until("it is held up", SOON, async || database.query(waiting) == "1").await;

    // Meanwhile another replica publishes. The reading began before that, as far as this center can tell.
    let log = store.change_log("local").unwrap();
    let id = ChangeId { seq: log.head().seq + 1, ..log.head() };
    let change = Change { module_id: "corp.test/late".to_owned(), ..anything_changed(id, "local") };
    let record = hex::encode(serde_json::to_vec(&change).unwrap());
    database.query(&format!(
        "WITH added AS (INSERT INTO modtier_changes VALUES ('local', {seq}, decode('{record}', 'hex')))
         UPDATE modtier_logs SET seq = {seq} WHERE repository = 'local'",
        seq = id.seq
    ));
    until("this center has been told", SOON, async || log.head() == id).await;
    held.rollback().await.unwrap();

    let repositories = starting.await.unwrap().unwrap();
    let module = ModulePath::new("corp.test/late").unwrap();
    assert_eq!(repositories.get("virtual").unwrap().owner_of(&module), Some("local"));
}

async fn start(store: Store) -> Result<Repositories, BuildError> {
    let settings = settings(&[], Period::secs(60));
    let (verifier, via) = (Arc::new(ToldVerifier::default()), HeaderValue::from_static("1.1 test"));
    Repositories::build(&settings, &store, verifier, &via, &Arc::default(), &EgressSettings::default(), None).await
}
