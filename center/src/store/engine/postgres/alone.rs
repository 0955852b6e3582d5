//! A database that one process has for itself, to copy from or to; and what is done only then.
//!
//! A center that starts takes the lock of use shared, for a moment; its connections stay. Whoever wants to be alone takes it exclusive,
//! for as long as he works, and then looks whether any center is connected: who came before him is seen, who comes after him is
//! refused.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::change::Change;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection as _, Row as _};

use super::connect::{CENTER, cause};
use super::{head_of, signed};
use crate::store::StoreError;
use crate::store::change_log::{LogHead, encode};

/// The advisory lock of use: "modtier" as a number, and one more.
const USE_LOCK: i64 = 0x006d_6f64_7469_6573;
/// How long a center that has just ended may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked.
const POLL: Duration = Duration::from_millis(50);

/// The session that holds the lock.
pub(super) struct Alone(Mutex<Option<PgConnection>>);

/// Makes sure that nobody has the database for himself.
pub(super) async fn share(pool: &PgPool) -> Result<(), StoreError> {
    let taken = sqlx::query("SELECT pg_try_advisory_xact_lock_shared($1)").bind(USE_LOCK).fetch_one(pool).await;
    match taken.and_then(|row| row.try_get(0)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::Unusable("storage.metadata: the database is being copied".to_owned())),
        Err(error) => Err(failed(&error)),
    }
}

impl Alone {
    /// Takes the database.
    pub(super) async fn take(pool: &PgPool) -> Result<Self, StoreError> {
        let mut session = pool.acquire().await.map_err(|error| failed(&error))?.detach();
        let started = Instant::now();
        while !is_alone(&mut session).await.map_err(|error| failed(&error))? {
            if started.elapsed() > PATIENCE {
                let used = "storage.metadata: the database is in use: stop every center on it";
                return Err(StoreError::Unusable(used.to_owned()));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Self(Mutex::new(Some(session))))
    }

    /// Fails if the session was lost, and with it the lock.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let lost =
            || StoreError::Unusable("storage.metadata: the connection was lost meanwhile; begin again".to_owned());
        let mut session = self.0.lock().take().ok_or_else(lost)?;
        session.ping().await.map_err(|_| lost())?;
        *self.0.lock() = Some(session);
        Ok(())
    }
}

async fn is_alone(session: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query("SELECT pg_try_advisory_lock($1)").bind(USE_LOCK).fetch_one(&mut *session).await?;
    if !taken.try_get(0)? {
        return Ok(false);
    }
    let others = sqlx::query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
    );
    let others: i64 = others.bind(CENTER).fetch_one(&mut *session).await?.try_get(0)?;
    if others > 0 {
        // A center that starts meanwhile is not to be refused for one that ends.
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(USE_LOCK).execute(&mut *session).await?;
    }
    Ok(others == 0)
}

/// Every log with its head.
pub(super) async fn logs(pool: &PgPool) -> Result<Vec<(String, LogHead)>, sqlx::Error> {
    let found =
        sqlx::query("SELECT repository, epoch, seq, oldest FROM modtier_logs ORDER BY repository COLLATE \"C\"");
    found.fetch_all(pool).await?.iter().map(head_of).collect()
}

/// Adds numbered records and sets the head.
pub(super) async fn copy_log(
    pool: &PgPool,
    repository: &str,
    head: LogHead,
    changes: &[Change],
) -> Result<(), sqlx::Error> {
    let numbers: Vec<i64> = changes.iter().map(|change| signed(change.id.seq)).collect();
    let records: Vec<Vec<u8>> = changes.iter().map(encode).collect();
    let mut transaction = pool.begin().await?;
    let added = sqlx::query(
        "INSERT INTO modtier_changes (repository, seq, record)
         SELECT $1, seq, record FROM unnest($2::bigint[], $3::bytea[]) AS added (seq, record)",
    );
    added.bind(repository).bind(numbers).bind(records).execute(&mut *transaction).await?;
    let set = sqlx::query(
        "INSERT INTO modtier_logs (repository, epoch, seq, oldest) VALUES ($1, $2, $3, $4)
         ON CONFLICT (repository) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, oldest = excluded.oldest",
    );
    let set = set.bind(repository).bind(signed(head.epoch)).bind(signed(head.seq)).bind(signed(head.oldest));
    set.execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Removes a log and its records.
pub(super) async fn drop_log(pool: &PgPool, repository: &str) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    for removed in
        ["DELETE FROM modtier_changes WHERE repository = $1", "DELETE FROM modtier_logs WHERE repository = $1"]
    {
        sqlx::query(removed).bind(repository).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

fn failed(error: &sqlx::Error) -> StoreError {
    StoreError::Unusable(format!("storage.metadata: {}", cause(error)))
}
