//! Fetching what nobody waits for: the fill that a request would have begun.

use std::sync::Arc;

use shared::fill::{FillError, FillErrorKind};
use shared::request::Request;

use super::{Ask, begin};
use crate::app::App;
use crate::cache::{Freshness, Key};
use crate::upstream::Wanted;

/// What a warm artefact was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warmed {
    /// Held, and fresh.
    Held,
    /// Not held, or no longer fresh.
    Filled,
}

/// Brings what `request` asks for here, unless it is held and fresh. A recorded "not found" is held, and an error all the same.
pub(crate) async fn warm(app: &Arc<App>, request: &Request) -> Result<Warmed, FillError> {
    let key = Key::of(&app.config().repository, request);
    match app.held(&key).await {
        Some((entry, Freshness::Fresh)) if entry.status.is_negative() => {
            return Err(FillError::new(FillErrorKind::NotFound, entry.meta.message.clone()));
        }
        Some((_, Freshness::Fresh)) => return Ok(Warmed::Held),
        Some(_) | None => {}
    }
    let ask = Ask::of_our_own(&request.to_path());
    begin(app, &ask, request, &key, Wanted::Ahead)?.done().await?;
    match app.cache.disk_trouble() {
        None => Ok(Warmed::Filled),
        Some(_) => Err(FillError::new(FillErrorKind::Storage, "fetched, but the disk stores nothing at the moment")),
    }
}
