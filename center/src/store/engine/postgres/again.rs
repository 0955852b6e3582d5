//! What is run again while the database cannot be had.

use std::time::Duration;

use super::failed;
use crate::store::StoreError;

/// How often a transaction is run again that changed nothing.
pub(super) const ATTEMPTS_MAX: u32 = 4;
/// What is waited before the second attempt; doubled before each further one.
pub(super) const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs what may be run twice again while the database cannot be had: reads, and writes of the same row.
pub(super) async fn again<T, F>(run: impl Fn() -> F + Send) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, sqlx::Error>> + Send,
{
    let mut pause = ATTEMPT_PAUSE;
    for _ in 1..ATTEMPTS_MAX {
        match run().await {
            Err(error) if may_run_again(&error) => {}
            done => return done.map_err(|error| failed(&error)),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    run().await.map_err(|error| failed(&error))
}

/// Whether a transaction that changed nothing may succeed when it is run again at once.
pub(super) fn may_run_again(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => true,
        // Serialisation failure, deadlock; the server stops or starts.
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            ["40001", "40P01", "57P01", "57P02", "57P03"].contains(&code.as_ref())
        }
        _ => false,
    }
}
