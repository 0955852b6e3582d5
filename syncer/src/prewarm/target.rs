//! An edge that is made to hold something: by its administration, which fetches what it lacks and moves nothing here; or through
//! its GOPROXY, which proves here what it serves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Deserialize;
use shared::digest::Digest;
use shared::go_sum::Entry;

use super::fetch::{FetchError, Fetcher};
use super::queue::Job;
use super::wanted::{Key, Parts};
use crate::tier::TierClient;
use crate::url::reason;

/// Artefacts of one call of an edge's administration, which fetches 16 of them at one time.
const CALL_ARTEFACTS: usize = 48;

/// Calls of one edge's administration at one time.
const CALLS: usize = 3;

/// How long a call may take: its largest zips may come from afar.
const CALL_TIME_MAX: Duration = Duration::from_mins(10);

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// An artefact that the edge holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Got {
    /// It was there before.
    pub(crate) was_warm: bool,
    /// Length of the body.
    pub(crate) bytes: u64,
    /// What is held.
    pub(crate) sha256: Option<Digest>,
}

/// Why it does not hold an artefact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One line.
    pub(crate) reason: String,
    /// Whether asking again would end the same.
    pub(crate) is_final: bool,
}

/// What came of each artefact of a job.
pub(crate) type Outcome = (Parts, Result<Got, Failure>);

/// How an edge is reached.
#[derive(Debug)]
pub(crate) enum Target {
    /// `POST /api/v1/prewarm` of its administration.
    Admin {
        /// The client.
        client: TierClient,
        /// Base URL of the administration.
        base: String,
    },
    /// Its GOPROXY.
    Goproxy {
        /// Fetches and proves.
        fetcher: Fetcher,
        /// Versions at one time.
        concurrency: usize,
        /// Accepted hashes, as far as they are known.
        sums: Arc<HashMap<Key, Entry>>,
    },
}

/// An answer of the administration.
#[derive(Debug, Deserialize)]
struct Answer {
    artefacts: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    result: String,
    sha256: Option<Digest>,
    bytes: Option<u64>,
    status: Option<u16>,
    error: Option<String>,
}

impl Target {
    /// How many callers make sense at one time.
    pub(crate) fn callers(&self) -> usize {
        match self {
            Self::Admin { .. } => CALLS,
            Self::Goproxy { concurrency, .. } => *concurrency,
        }
    }

    /// How many artefacts one call takes.
    pub(crate) fn artefacts_max(&self) -> usize {
        match self {
            Self::Admin { .. } => CALL_ARTEFACTS,
            Self::Goproxy { .. } => 1,
        }
    }

    /// How often in a row the edge may be out of reach before a run that is to end gives it up.
    pub(crate) fn unreached_max(&self) -> u32 {
        match self {
            Self::Admin { .. } => 6,
            // The fetcher has tried again already.
            Self::Goproxy { .. } => 1,
        }
    }

    /// Makes the edge hold these; what came of each, in order.
    ///
    /// # Errors
    /// Why the edge cannot be asked at all.
    pub(crate) async fn warm(&self, jobs: &[Job]) -> Result<Vec<Vec<Outcome>>, String> {
        match self {
            Self::Admin { client, base } => ask(client, base, jobs).await,
            Self::Goproxy { fetcher, sums, .. } => {
                let each = jobs.iter().map(|job| fetch(fetcher, sums, job));
                let outcomes: Vec<_> = stream::iter(each).buffered(1).collect().await;
                outcomes.into_iter().collect()
            }
        }
    }
}

async fn ask(client: &TierClient, base: &str, jobs: &[Job]) -> Result<Vec<Vec<Outcome>>, String> {
    let wanted: Vec<(usize, Parts)> =
        jobs.iter().enumerate().flat_map(|(at, job)| job.parts.each().map(move |part| (at, part))).collect();
    let paths: Vec<String> = wanted.iter().map(|(at, part)| path(&jobs[*at].key, *part)).collect();
    let answer = async {
        let request = client.post(base, "api/v1/prewarm").json(&serde_json::json!({ "artefacts": paths }));
        let mut response = request.timeout(CALL_TIME_MAX).send().await.map_err(reason)?;
        if !response.status().is_success() {
            return Err(format!("its administration answers {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reason)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err("its administration answers too much".to_owned());
            }
        }
        serde_json::from_slice::<Answer>(&body).map_err(|error| format!("its administration answers: {error}"))
    };
    let answer = answer.await?;
    if answer.artefacts.len() != wanted.len() {
        return Err(format!("its administration answers for {} of {}", answer.artefacts.len(), wanted.len()));
    }
    let mut outcomes = vec![Vec::new(); jobs.len()];
    for ((at, part), item) in wanted.into_iter().zip(answer.artefacts) {
        outcomes[at].push((part, outcome(item)));
    }
    Ok(outcomes)
}

fn outcome(item: Item) -> Result<Got, Failure> {
    match item.result.as_str() {
        "held" | "filled" => {
            Ok(Got { was_warm: item.result == "held", bytes: item.bytes.unwrap_or_default(), sha256: item.sha256 })
        }
        _ => Err(Failure {
            reason: item.error.unwrap_or_else(|| "it failed".to_owned()),
            is_final: item.status.is_some_and(|status| matches!(status, 400 | 403 | 404 | 410)),
        }),
    }
}

async fn fetch(fetcher: &Fetcher, sums: &HashMap<Key, Entry>, job: &Job) -> Result<Vec<Outcome>, String> {
    let entry = sums.get(&job.key).cloned().unwrap_or_else(|| Entry {
        module: job.key.module.clone(),
        version: job.key.version.clone(),
        zip: std::collections::BTreeSet::new(),
        gomod: std::collections::BTreeSet::new(),
    });
    let mut outcomes = Vec::new();
    for part in job.parts.each() {
        let outcome = match fetcher.warm(&entry, part).await {
            Ok(got) => Ok(got),
            Err(FetchError::Connect(reason)) => return Err(reason),
            // The fetcher has tried again where that may help.
            Err(error) => Err(Failure { reason: error.to_string(), is_final: !error.is_worth_retrying() }),
        };
        outcomes.push((part, outcome));
    }
    Ok(outcomes)
}

/// The path of an artefact below the base.
pub(crate) fn path(key: &Key, part: Parts) -> String {
    format!("{}/@v/{}.{}", key.module.escaped(), key.version.escaped(), part.extension())
}
