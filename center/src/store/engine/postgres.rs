//! PostgreSQL: several replicas of a center on one database.
//!
//! ```text
//! commit: BEGIN ─ lock the places ─ read them ─ decide ─ write ─ lock the heads ─ number and add the records ─ COMMIT
//! ```
//! Places are locked by advisory locks, because a row that is not there yet cannot be. Locks are taken in one order everywhere: the
//! places by number, then the heads by name. A transaction that failed before its COMMIT was sent changed nothing and is run again;
//! what became of one whose COMMIT got no answer is not known, and nobody is told that it succeeded.

mod again;
mod alone;
mod connect;
mod follow;
mod lease;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shared::change::Change;
use shared::digest::Digest;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Postgres as Db, Row as _, Transaction};

use self::again::{ATTEMPT_PAUSE, ATTEMPTS_MAX, again, may_run_again};
pub(in crate::store) use self::connect::Address;
use super::{Batch, Claim, Decide, Engine, Entry, Fence, Place};
use crate::store::change_log::{LogHead, Logs, encode, now_ms};
use crate::store::metadata::decode;
use crate::store::{StoreError, family};

/// The engine.
pub(in crate::store) struct Postgres {
    pool: PgPool,
    logs: Arc<Logs>,
    follower: tokio::task::AbortHandle,
    /// Keeps centers out while the database is copied.
    alone: Option<alone::Alone>,
}

impl Postgres {
    /// Connects, brings the schema up to date and follows what other replicas commit.
    pub(in crate::store) async fn open(address: &Address, logs: Arc<Logs>, claim: Claim) -> Result<Self, StoreError> {
        let pool = connect::connect(address, claim).await?;
        let alone = match claim {
            Claim::Alone => Some(alone::Alone::take(&pool).await?),
            Claim::Shared => alone::share(&pool).await.map(|()| None)?,
        };
        let follower = tokio::spawn(follow::follow(pool.clone(), Arc::clone(&logs))).abort_handle();
        Ok(Self { pool, logs, follower, alone })
    }

    async fn attempt(
        &self,
        reads: &[Place],
        fence: Option<&Fence>,
        decide: &mut (dyn FnMut(Vec<Option<Bytes>>) -> Result<Option<Batch>, StoreError> + Send),
    ) -> Result<(), Failed> {
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction, reads).await?;
        if let Some(fence) = fence
            && !lease::holds(&mut transaction, fence).await?
        {
            return Err(Failed::Refused(StoreError::Fenced));
        }
        let found = read(&mut transaction, reads).await?;
        let Some(batch) = decide(found).map_err(Failed::Refused)? else { return Ok(()) };
        write(&mut transaction, &batch).await?;
        let heads = append(&mut transaction, &batch).await?;
        transaction.commit().await.map_err(|error| Failed::Refused(failed(&error)))?;
        self.show(&heads, batch.changes.len() as u64).await.map_err(Failed::Refused)
    }

    /// Shows the heads of a commit that gave `own` numbers in each of its logs. Where others gave numbers before it that are not
    /// known here yet, their changes are told first: what lies behind a head that is shown is never told.
    async fn show(&self, heads: &[(String, LogHead)], own: u64) -> Result<(), StoreError> {
        let is_next = |log: &str, head: &LogHead| self.logs.head(log).is_none_or(|known| known.seq + own >= head.seq);
        if !heads.iter().all(|(log, head)| is_next(log, head)) {
            return follow::refresh(&self.pool, &self.logs).await;
        }
        for (log, head) in heads {
            self.logs.advance(log, *head);
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// How an attempt at a transaction failed.
enum Failed {
    /// Nothing was changed; whether it may be run again, the error says.
    Before(sqlx::Error),
    /// For good.
    Refused(StoreError),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Before(error)
    }
}

#[async_trait]
impl Engine for Postgres {
    async fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        again(|| async move {
            let found = sqlx::query("SELECT value FROM modtier_records WHERE family = $1 AND key = $2");
            let row = found.bind(family).bind(key).fetch_optional(&self.pool).await?;
            row.map(|row| row.try_get::<Vec<u8>, _>(0).map(Bytes::from)).transpose()
        })
        .await
    }

    async fn scan(
        &self,
        family: &'static str,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        again(|| async move {
            let found = sqlx::query(
                "SELECT key, value FROM modtier_records
                 WHERE family = $1 AND key >= $2 AND ($3::bytea IS NULL OR key < $3) AND key > $4 ORDER BY key LIMIT $5",
            );
            let end = end_of(prefix);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = found.bind(family).bind(prefix).bind(end).bind(after).bind(limit);
            let entry = |row: &PgRow| Ok((row.try_get(0)?, Bytes::from(row.try_get::<Vec<u8>, _>(1)?)));
            found.fetch_all(&self.pool).await?.iter().map(entry).collect()
        })
        .await
    }

    async fn put(&self, family: &'static str, key: &[u8], value: Bytes, sync: bool) -> Result<(), StoreError> {
        let mut batch = Batch { sync, ..Batch::default() };
        batch.puts.push(((family, key.to_owned()), value));
        self.commit(&[], None, &mut |_| Ok(Some(batch.clone()))).await
    }

    async fn commit(&self, reads: &[Place], fence: Option<&Fence>, decide: Decide<'_>) -> Result<(), StoreError> {
        let mut pause = ATTEMPT_PAUSE;
        for attempt in 1.. {
            match self.attempt(reads, fence, decide).await {
                Ok(()) => return Ok(()),
                Err(Failed::Before(error)) if attempt < ATTEMPTS_MAX && may_run_again(&error) => {
                    tracing::debug!(%error, attempt, "a transaction is run again");
                }
                Err(Failed::Before(error)) => return Err(failed(&error)),
                Err(Failed::Refused(error)) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }

    async fn open_log(&self, repository: &str) -> Result<LogHead, StoreError> {
        again(|| async move {
            let created = sqlx::query(
                "INSERT INTO modtier_logs (repository, epoch, seq, oldest) VALUES ($1, $2, 0, 1) ON CONFLICT DO NOTHING",
            );
            created.bind(repository).bind(signed(now_ms())).execute(&self.pool).await?;
            let found = sqlx::query("SELECT repository, epoch, seq, oldest FROM modtier_logs WHERE repository = $1");
            Ok(head_of(&found.bind(repository).fetch_one(&self.pool).await?)?.1)
        })
        .await
    }

    async fn changes(&self, repository: &str, first: u64, last: u64, limit: usize) -> Result<Vec<Change>, StoreError> {
        let found = again(|| changes(&self.pool, repository, first, last, limit)).await?;
        found.iter().map(|record| decode(repository.as_bytes(), record)).collect()
    }

    async fn logs(&self) -> Result<Vec<(String, LogHead)>, StoreError> {
        again(|| alone::logs(&self.pool)).await
    }

    async fn copy_log(&self, repository: &str, head: LogHead, changes: &[Change]) -> Result<(), StoreError> {
        alone::copy_log(&self.pool, repository, head, changes).await.map_err(|error| failed(&error))
    }

    async fn drop_log(&self, repository: &str) -> Result<(), StoreError> {
        again(|| alone::drop_log(&self.pool, repository)).await
    }

    async fn still_alone(&self) -> Result<(), StoreError> {
        match &self.alone {
            Some(alone) => alone.check().await,
            None => Ok(()),
        }
    }

    async fn trim(&self, repository: &str, kept: u64, before_s: u64) -> Result<(), StoreError> {
        let failed = |error: sqlx::Error| failed(&error);
        let Some(head) = self.logs.head(repository) else { return Ok(()) };
        let limit = (head.seq + 1).saturating_sub(kept);
        let mut oldest = head.oldest;
        while oldest < limit {
            let page = self.changes(repository, oldest, limit - 1, 1000).await?;
            let old = page.iter().take_while(|change| change.timestamp < before_s).count();
            oldest += old as u64;
            if old == 0 || old < page.len() {
                break;
            }
        }
        if oldest <= head.oldest {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let moved = sqlx::query(
            "UPDATE modtier_logs SET oldest = greatest(oldest, $2) WHERE repository = $1
             RETURNING repository, epoch, seq, oldest",
        );
        let row = moved.bind(repository).bind(signed(oldest)).fetch_one(&mut *transaction).await.map_err(failed)?;
        let removed = sqlx::query("DELETE FROM modtier_changes WHERE repository = $1 AND seq < $2");
        removed.bind(repository).bind(signed(oldest)).execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        // The row may be ahead of what was told here: only its oldest number is taken over.
        let (_, LogHead { oldest, .. }) = head_of(&row).map_err(failed)?;
        if let Some(known) = self.logs.head(repository) {
            self.logs.advance(repository, LogHead { oldest, ..known });
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        follow::refresh(&self.pool, &self.logs).await
    }

    async fn take_lease(&self, key: &str) -> Result<Option<Fence>, StoreError> {
        again(|| lease::take(&self.pool, key)).await
    }

    async fn renew_lease(&self, fence: &Fence) -> Result<bool, StoreError> {
        again(|| lease::renew(&self.pool, fence)).await
    }

    async fn end_lease(&self, fence: &Fence) -> Result<(), StoreError> {
        again(|| lease::end(&self.pool, fence)).await
    }
}

/// Locks places until the transaction ends.
async fn lock(transaction: &mut Transaction<'_, Db>, reads: &[Place]) -> Result<(), sqlx::Error> {
    let mut locks: Vec<i64> = reads.iter().map(lock_number).collect();
    locks.sort_unstable();
    locks.dedup();
    let taken = sqlx::query("SELECT pg_advisory_xact_lock(number) FROM unnest($1::bigint[]) AS number");
    taken.bind(locks).execute(&mut **transaction).await.map(drop)
}

fn lock_number((family, key): &Place) -> i64 {
    // Downloads are counted by hundreds at a time: one lock for all of them, or the server's table of locks would be full of them.
    let key: &[u8] = if *family == family::DOWNLOADS { b"" } else { key };
    let digest = Digest::of(&[family.as_bytes(), b"\0", key].concat());
    digest.as_bytes()[..8].iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

async fn read(transaction: &mut Transaction<'_, Db>, reads: &[Place]) -> Result<Vec<Option<Bytes>>, sqlx::Error> {
    let (families, keys): (Vec<&str>, Vec<&[u8]>) = reads.iter().map(|(family, key)| (*family, key.as_slice())).unzip();
    let found = sqlx::query(
        "SELECT value FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS place (family, key, number)
         LEFT JOIN modtier_records USING (family, key) ORDER BY number",
    );
    let rows = found.bind(families).bind(keys).fetch_all(&mut **transaction).await?;
    rows.iter().map(|row| Ok(row.try_get::<Option<Vec<u8>>, _>(0)?.map(Bytes::from))).collect()
}

async fn write(transaction: &mut Transaction<'_, Db>, batch: &Batch) -> Result<(), sqlx::Error> {
    if !batch.sync {
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut **transaction).await?;
    }
    if !batch.deletes.is_empty() {
        let places = batch.deletes.iter().map(|(family, key)| (*family, key.as_slice()));
        let (families, keys): (Vec<&str>, Vec<&[u8]>) = places.unzip();
        let removed = sqlx::query(
            "DELETE FROM modtier_records WHERE (family, key) IN (SELECT * FROM unnest($1::text[], $2::bytea[]))",
        );
        removed.bind(families).bind(keys).execute(&mut **transaction).await?;
    }
    if batch.puts.is_empty() {
        return Ok(());
    }
    // In one order everywhere, as all locks; and each key once, because a statement cannot write a row twice.
    let puts: std::collections::BTreeMap<_, _> = batch.puts.iter().map(|(place, value)| (place, value)).collect();
    let families: Vec<&str> = puts.keys().map(|(family, _)| *family).collect();
    let keys: Vec<&[u8]> = puts.keys().map(|(_, key)| key.as_slice()).collect();
    let values: Vec<&[u8]> = puts.values().map(AsRef::as_ref).collect();
    let written = sqlx::query(
        "INSERT INTO modtier_records (family, key, value) SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[])
         ON CONFLICT (family, key) DO UPDATE SET value = excluded.value",
    );
    written.bind(families).bind(keys).bind(values).execute(&mut **transaction).await.map(drop)
}

/// Numbers the records of a batch and adds them to the logs. The heads stay locked until the transaction ends: as long as that
/// takes, nobody numbers anything.
async fn append(transaction: &mut Transaction<'_, Db>, batch: &Batch) -> Result<Vec<(String, LogHead)>, Failed> {
    if batch.changes.is_empty() {
        return Ok(Vec::new());
    }
    let locked = sqlx::query(
        "SELECT repository, epoch, seq, oldest FROM modtier_logs WHERE repository = ANY($1) ORDER BY repository FOR UPDATE",
    );
    let rows = locked.bind(&batch.logs).fetch_all(&mut **transaction).await?;
    let mut heads = rows.iter().map(head_of).collect::<Result<Vec<_>, _>>()?;
    if let Some(missing) = batch.logs.iter().find(|log| !heads.iter().any(|(open, _)| open == *log)) {
        return Err(Failed::Refused(StoreError::no_log(missing)));
    }
    let (mut repositories, mut numbers, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for (log, head) in &mut heads {
        for change in &batch.changes {
            head.seq += 1;
            repositories.push(log.clone());
            numbers.push(signed(head.seq));
            records.push(encode(&Change { id: head.id(), repo: log.clone(), ..change.clone() }));
        }
    }
    let added = sqlx::query(
        "WITH added AS (
           INSERT INTO modtier_changes (repository, seq, record) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])
         ), moved AS (
           UPDATE modtier_logs SET seq = seq + $4 WHERE repository = ANY($5)
         )
         SELECT pg_notify('modtier_changes', '')",
    );
    let count = i64::try_from(batch.changes.len()).unwrap_or(i64::MAX);
    let added = added.bind(repositories).bind(numbers).bind(records).bind(count).bind(&batch.logs);
    added.execute(&mut **transaction).await?;
    Ok(heads)
}

async fn changes(
    pool: &PgPool,
    repository: &str,
    first: u64,
    last: u64,
    limit: usize,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let found = sqlx::query(
        "SELECT record FROM modtier_changes WHERE repository = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq LIMIT $4",
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = found.bind(repository).bind(signed(first)).bind(signed(last)).bind(limit);
    found.fetch_all(pool).await?.iter().map(|row| row.try_get(0)).collect()
}

fn failed(error: &sqlx::Error) -> StoreError {
    StoreError::Database(connect::cause(error))
}

fn head_of(row: &PgRow) -> Result<(String, LogHead), sqlx::Error> {
    let number = |column: usize| row.try_get::<i64, _>(column).map(|number| u64::try_from(number).unwrap_or(0));
    Ok((row.try_get(0)?, LogHead { epoch: number(1)?, seq: number(2)?, oldest: number(3)? }))
}

/// The first key beyond all that begin with a prefix; none if there is no such key.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// PostgreSQL has no unsigned numbers; ours do not reach so far.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
