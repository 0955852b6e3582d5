//! The one way into a fill: for requests, for refreshes behind a stale answer, for pre-warming.

use std::sync::Arc;

use shared::fill::Joined;

use super::FillHead;
use super::fetch::{Fetch, fill};
use crate::app::App;
use crate::cache::Key;
use crate::limit::{ClientNet, TooMany, Urgency};

/// A fill under way.
pub(crate) type Fill = Arc<shared::fill::Fill<FillHead>>;

/// Who wants a fill.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// A client that waits for it.
    By(ClientNet),
    /// A client that was answered already with what is held: the refresh counts as its fill, and nobody waits.
    After(ClientNet),
    /// The edge itself, ahead of any client: no client's rate is touched, and requests go before.
    Ahead,
}

impl Wanted {
    /// Whose rate it counts for.
    fn client(self) -> Option<ClientNet> {
        match self {
            Self::By(client) | Self::After(client) => Some(client),
            Self::Ahead => None,
        }
    }

    fn urgency(self) -> Urgency {
        match self {
            Self::By(_) => Urgency::Request,
            Self::After(_) | Self::Ahead => Urgency::Background,
        }
    }
}

/// Joins the one fill of the key, or begins it. It goes on when this client leaves.
///
/// # Errors
/// When none is under way and the client has begun too many.
pub(crate) fn begin(app: &Arc<App>, key: &Key, wanted: Wanted, fetch: impl FnOnce() -> Fetch) -> Result<Fill, TooMany> {
    if let Some(fill) = app.flights.under_way(key) {
        if let Wanted::By(client) = wanted {
            app.limits.hasten(&app.config(), key, client);
        }
        return Ok(fill);
    }
    let turn = app.limits.turn(&app.config(), Some(key), wanted.client(), wanted.urgency())?;
    let (fill, joined) = app.flights.join(key.clone(), |writer| fill(Arc::clone(app), fetch(), turn, writer));
    tracing::debug!(?wanted, coalesced = joined == Joined::Coalesced, "fill");
    Ok(fill)
}
