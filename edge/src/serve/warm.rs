//! Fetching what nobody waits for: the fill that a request would have begun.

use std::sync::Arc;

use shared::digest::Digest;
use shared::fill::{FillError, FillErrorKind};
use shared::request::Request;

use super::{Ask, begin};
use crate::app::App;
use crate::cache::{Entry, Freshness, Key};
use crate::upstream::Wanted;

/// An artefact that is warm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Warmed {
    /// Whether it was held, and fresh, before.
    pub(crate) was_held: bool,
    /// What is held now: SHA-256 and length in bytes. None if it has been evicted meanwhile.
    pub(crate) body: Option<(Digest, u64)>,
}

impl Warmed {
    fn of(was_held: bool, entry: Option<&Entry>) -> Self {
        Self { was_held, body: entry.map(|entry| (entry.meta.digest, entry.meta.len)) }
    }
}

/// Brings what `request` asks for here, unless it is held and fresh. A recorded "not found" is held, and an error all the same.
pub(crate) async fn warm(app: &Arc<App>, request: &Request) -> Result<Warmed, FillError> {
    let key = Key::of(&app.config().repository, request);
    match app.held(&key).await {
        Some((entry, Freshness::Fresh)) if entry.status.is_negative() => {
            return Err(FillError::new(FillErrorKind::NotFound, entry.meta.message.clone()));
        }
        Some((entry, Freshness::Fresh)) => return Ok(Warmed::of(true, Some(&entry))),
        Some(_) | None => {}
    }
    let ask = Ask::of_our_own(&request.to_path());
    begin(app, &ask, request, &key, Wanted::Ahead)?.done().await?;
    match app.cache.disk_trouble() {
        None => Ok(Warmed::of(false, app.held(&key).await.map(|(entry, _)| entry).as_ref())),
        Some(_) => Err(FillError::new(FillErrorKind::Storage, "fetched, but the disk stores nothing at the moment")),
    }
}
