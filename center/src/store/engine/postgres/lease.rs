//! Leases: who does what just now, among all replicas. Time is the database's, so that no two clocks are compared.

use sqlx::postgres::PgPool;
use sqlx::{Postgres as Db, Row as _, Transaction};

use super::Fence;

/// Takes a lease that nobody holds, or whose holder has not been heard of for too long.
pub(super) async fn take(pool: &PgPool, key: &str) -> Result<Option<Fence>, sqlx::Error> {
    let taken = sqlx::query(
        "INSERT INTO modtier_leases AS lease (key, token, expires)
         VALUES ($1, nextval('modtier_lease_tokens'), now() + interval '10 seconds')
         ON CONFLICT (key) DO UPDATE SET token = excluded.token, expires = excluded.expires WHERE lease.expires < now()
         RETURNING token",
    );
    let row = taken.bind(key).fetch_optional(pool).await?;
    row.map(|row| Ok(Fence { key: key.to_owned(), token: row.try_get(0)? })).transpose()
}

/// Holds on to a lease; false if somebody else has it by now.
pub(super) async fn renew(pool: &PgPool, fence: &Fence) -> Result<bool, sqlx::Error> {
    let renewed =
        sqlx::query("UPDATE modtier_leases SET expires = now() + interval '10 seconds' WHERE key = $1 AND token = $2");
    Ok(renewed.bind(&fence.key).bind(fence.token).execute(pool).await?.rows_affected() == 1)
}

/// Gives a lease back.
pub(super) async fn end(pool: &PgPool, fence: &Fence) -> Result<(), sqlx::Error> {
    let ended = sqlx::query("DELETE FROM modtier_leases WHERE key = $1 AND token = $2");
    ended.bind(&fence.key).bind(fence.token).execute(pool).await.map(drop)
}

/// Whether a lease is still held, and will be until the transaction ends: nobody can take it over before.
pub(super) async fn holds(transaction: &mut Transaction<'_, Db>, fence: &Fence) -> Result<bool, sqlx::Error> {
    let held = sqlx::query("SELECT 1 FROM modtier_leases WHERE key = $1 AND token = $2 FOR SHARE");
    Ok(held.bind(&fence.key).bind(fence.token).fetch_optional(&mut **transaction).await?.is_some())
}
