//! Connections to PostgreSQL: who we are, how long anything may take, and the schema.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, Row as _};

use crate::store::StoreError;
use crate::store::engine::Claim;

/// How a database is reached.
#[derive(Debug, Clone)]
pub(in crate::store) struct Address {
    /// `postgres://user@host:port/database?sslmode=verify-full`
    pub(in crate::store) url: String,
    /// The password, where it stands neither in the URL nor in `PGPASSWORD`.
    pub(in crate::store) password: Option<String>,
    /// How many connections may be open.
    pub(in crate::store) connections_max: u32,
}

/// What a center calls itself in `pg_stat_activity`.
pub(super) const CENTER: &str = "modtier-center";
/// How long a request waits for a free connection, or for the database to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that did nothing for longer is asked whether it lives before it is used.
const IDLE_TRUSTED: Duration = Duration::from_secs(1);
/// What the server ends by itself: a statement, the wait for a lock, a transaction that says nothing.
const LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "15s"), ("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "15s")];

/// One step of the schema each. A step is never changed; the next one is added.
const STEPS: [&str; 1] = [include_str!("schema.sql")];
/// The advisory lock under which the schema is brought up to date: "modtier" as a number.
const SCHEMA_LOCK: i64 = 0x006d_6f64_7469_6572;

/// Opens a pool and brings the schema up to date.
pub(super) async fn connect(address: &Address, claim: Claim) -> Result<PgPool, StoreError> {
    let unusable = |error: sqlx::Error| StoreError::Unusable(format!("storage.metadata: {}", cause(&error)));
    let mut options = PgConnectOptions::from_str(&address.url).map_err(unusable)?;
    if let Some(password) = &address.password {
        options = options.password(password);
    }
    let name = match claim {
        Claim::Shared => CENTER,
        Claim::Alone => "modtier-move",
    };
    let options = options.application_name(name).options(LIMITS);
    let pool = PgPoolOptions::new()
        .max_connections(address.connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, state| {
            Box::pin(async move {
                if state.idle_for > IDLE_TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await
        .map_err(unusable)?;
    migrate(&pool).await.map_err(unusable)?;
    warn_of_loss(&pool).await.map_err(unusable)?;
    Ok(pool)
}

async fn migrate(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // Replicas that start together take turns.
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *transaction).await?;
    transaction.execute("CREATE TABLE IF NOT EXISTS modtier_schema (step integer PRIMARY KEY)").await?;
    let row = sqlx::query("SELECT count(*) FROM modtier_schema").fetch_one(&mut *transaction).await?;
    let done = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
    if done > STEPS.len() {
        let newer = format!("its schema is at step {done}, this center knows {}: use a newer center", STEPS.len());
        return Err(sqlx::Error::Configuration(newer.into()));
    }
    for (number, step) in STEPS.iter().enumerate().skip(done) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        sqlx::query("INSERT INTO modtier_schema VALUES ($1)").bind(number).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Acknowledged means kept, if the server keeps what it acknowledges.
async fn warn_of_loss(pool: &PgPool) -> Result<(), sqlx::Error> {
    let row = sqlx::query("SELECT current_setting('fsync'), current_setting('synchronous_commit')").fetch_one(pool);
    let row = row.await?;
    let (fsync, commit): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    if fsync == "off" || commit == "off" {
        tracing::warn!(fsync, synchronous_commit = commit, "PostgreSQL may lose what it has acknowledged");
    }
    Ok(())
}

/// What went wrong, without what a log should not hold.
pub(super) fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no connection to PostgreSQL could be had in time".to_owned(),
        other => other.to_string(),
    }
}
