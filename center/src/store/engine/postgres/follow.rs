//! What other replicas commit: heard by NOTIFY, and looked for each second, in case a notification was lost with its connection.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};

use super::{changes, failed};
use crate::store::StoreError;
use crate::store::change_log::{LogHead, Logs};
use crate::store::metadata::decode;

/// How often the heads are looked at without having heard anything.
const POLL: Duration = Duration::from_secs(1);
/// How many records are read at a time.
const PAGE: usize = 1000;

/// Follows until it is aborted.
pub(super) async fn follow(pool: PgPool, logs: Arc<Logs>) {
    let mut listener = None;
    let mut is_lost = false;
    loop {
        if listener.is_none() {
            listener = listen(&pool).await.ok();
        }
        match refresh(&pool, &logs).await {
            Ok(()) => is_lost = false,
            // Said once: the requests that fail say the rest.
            Err(error) if !is_lost => {
                is_lost = true;
                tracing::warn!(%error, "the changes of other replicas cannot be seen");
            }
            Err(_) => {}
        }
        match &mut listener {
            None => tokio::time::sleep(POLL).await,
            Some(heard) => match tokio::time::timeout(POLL, heard.recv()).await {
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(_)) => listener = None,
            },
        }
    }
}

async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("modtier_changes").await?;
    Ok(listener)
}

/// Takes over the heads that are committed now. The records up to a head are shown to the observers before the head is: whoever waits
/// for a change finds everything as it is after that change. Changes of this process may be among them: to be told of those does no
/// harm.
pub(super) async fn refresh(pool: &PgPool, logs: &Logs) -> Result<(), StoreError> {
    for (repository, head) in super::alone::logs(pool).await.map_err(|error| failed(&error))? {
        let Some(known) = logs.head(&repository) else { continue };
        if known.epoch == head.epoch && known.seq < head.seq {
            show(pool, logs, &repository, known, head).await?;
        }
        logs.advance(&repository, head);
    }
    Ok(())
}

async fn show(pool: &PgPool, logs: &Logs, repository: &str, known: LogHead, head: LogHead) -> Result<(), StoreError> {
    let mut seen = known.seq;
    while seen < head.seq {
        let page = changes(pool, repository, seen + 1, head.seq, PAGE).await.map_err(|error| failed(&error))?;
        if page.is_empty() {
            break;
        }
        for record in &page {
            logs.observe(&decode(repository.as_bytes(), record)?);
        }
        seen += page.len() as u64;
    }
    Ok(())
}
