//! What is fetched: one flight for everybody who wants the same, and what becomes of its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shared::artefact::Artefact;
use shared::fill::{Fill, FillWriter};
use shared::module::{ModulePath, Version};

use super::Private;
use crate::repository::RepoError;
use crate::repository::remote::{millis, outcome_of};
use crate::store::{MutableOutcome, now_ms};

/// Which fetches are one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Flight {
    /// `list` and `@latest`: one reading of the repository answers both.
    Listing(ModulePath),
    /// A branch, a commit or a prefix.
    Query(ModulePath, String),
    /// `.info` and `.mod` of a version.
    Metadata(ModulePath, Version),
    /// Everything of a version.
    Zip(ModulePath, Version),
}

impl Flight {
    pub(super) const fn module(&self) -> &ModulePath {
        match self {
            Self::Listing(module) | Self::Query(module, _) | Self::Metadata(module, _) | Self::Zip(module, _) => module,
        }
    }

    /// The word in figures.
    const fn word(&self) -> &'static str {
        match self {
            Self::Listing(_) => "listing",
            Self::Query(..) => "query",
            Self::Metadata(..) => "metadata",
            Self::Zip(..) => "zip",
        }
    }

    /// What does not exist if the fetcher says so.
    fn artefacts(&self) -> Vec<Artefact> {
        match self {
            Self::Listing(_) => vec![Artefact::List, Artefact::Latest],
            Self::Query(_, query) => vec![Artefact::Query(query.clone())],
            Self::Metadata(_, version) => vec![Artefact::Info(version.clone()), Artefact::Mod(version.clone())],
            Self::Zip(_, version) => vec![Artefact::Zip(version.clone())],
        }
    }
}

impl Private {
    /// Joins the flight, or begins it. It lands whether or not anybody waits.
    pub(super) fn join(self: &Arc<Self>, flight: &Flight) -> Arc<Fill<()>> {
        let (this, of) = (Arc::clone(self), flight.clone());
        let (fill, _) = self.flights.join(flight.clone(), |writer| async move { this.fly(of, writer).await });
        fill
    }

    async fn fly(self: Arc<Self>, flight: Flight, writer: FillWriter<()>) {
        let (store, what) = (self.store.clone(), format!("{} {flight:?}", self.name));
        if let Err(error) = store.alone(&what, self.fly_alone(flight, writer)).await {
            // The writer is gone, and with it the flight.
            tracing::warn!(what, %error, "a fetch could not begin");
        }
    }

    async fn fly_alone(self: Arc<Self>, flight: Flight, writer: FillWriter<()>) {
        let mark = self.renewals.mark();
        let begun = tokio::time::Instant::now();
        let result = match &flight {
            Flight::Listing(module) => self.fetch_listing(module).await,
            Flight::Query(module, query) => self.fetch_query(module, query).await,
            Flight::Metadata(module, version) => self.fetch_metadata(module, version).await,
            Flight::Zip(module, version) => self.fetch_zip(module, version).await,
        };
        let outcome = result.as_ref().map_or_else(outcome_of, |()| "found");
        self.figures.asked(&self.name, outcome);
        self.figures.fetched(&self.name, flight.word(), outcome, begun.elapsed());
        match &result {
            Ok(()) => self.renewals.done(&flight, mark),
            Err(error) if error.is_absent() => {
                if let Err(storing) = self.record_absence(&flight, error).await {
                    tracing::warn!(error = %storing, "an absence could not be recorded");
                }
                self.renewals.done(&flight, mark);
            }
            Err(RepoError::Unavailable { .. } | RepoError::Timeout(_)) => {
                self.cooling_until_ms
                    .store(now_ms().saturating_add(millis(self.periods.assumed_offline)), Ordering::Relaxed);
            }
            Err(_) => {}
        }
        match result {
            Ok(()) => writer.commit(),
            Err(error) => writer.fail(error.into()),
        }
    }

    async fn record_absence(&self, flight: &Flight, error: &RepoError) -> Result<(), RepoError> {
        let outcome = match error {
            RepoError::NotFound(reason) => MutableOutcome::NotFound(reason.clone()),
            RepoError::Gone(reason) => MutableOutcome::Gone(reason.clone()),
            _ => return Ok(()),
        };
        for artefact in flight.artefacts() {
            self.keep(flight.module(), &artefact, outcome.clone(), None, Vec::new()).await?;
        }
        Ok(())
    }

    /// Whether the fetcher failed a moment ago, so that what is held is answered without trying again.
    pub(super) fn is_cooling(&self) -> bool {
        now_ms() < self.cooling_until_ms.load(Ordering::Relaxed)
    }
}
