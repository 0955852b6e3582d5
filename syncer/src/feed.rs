//! The client of the center's change feed: `GET /api/v1/repos/<r>/changes`.

use std::time::Duration;

use http::StatusCode;
use reqwest::{Client, Response};
use shared::change::{Change, ChangeId};

use crate::url::{join, reason};

/// Most records that one answer may hold.
pub(crate) const PAGE_RECORDS_MAX: usize = 1000;

/// Most bytes that one answer may hold: a record is some hundred bytes.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// Header with the id of the newest record.
const CHANGE_HEAD: &str = "x-change-head";

/// How much longer than the long poll itself an answer may take.
const ANSWER_SLACK: Duration = Duration::from_secs(10);

/// One repository's feed.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    client: Client,
    url: String,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// The records after the asked id, in order; empty when none came in time.
    pub(crate) changes: Vec<Change>,
    /// The newest record of the log.
    pub(crate) head: ChangeId,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    /// The log has no such place (any more, or yet).
    #[error("the log has nothing after {0}")]
    Gone(ChangeId),
    /// The center did not answer, or with an error.
    #[error("change feed: {0}")]
    Unavailable(String),
    /// The answer is not what a feed says.
    #[error("change feed: {0}")]
    Malformed(String),
}

impl Feed {
    /// The feed of `repository` at the center with this base URL.
    pub(crate) fn new(client: Client, center: &str, repository: &str) -> Self {
        Self { client, url: join(center, &format!("api/v1/repos/{repository}/changes")) }
    }

    /// The records after `after`; waits up to `wait` for the first.
    pub(crate) async fn page(&self, after: ChangeId, wait: Duration, limit: usize) -> Result<Page, FeedError> {
        tokio::time::timeout(wait + ANSWER_SLACK, self.ask(after, wait, limit))
            .await
            .unwrap_or_else(|_| Err(FeedError::Unavailable(format!("no answer within {:?}", wait + ANSWER_SLACK))))
    }

    /// The newest record's id, at once. `after` is where the asker believes the log to be.
    pub(crate) async fn head(&self, after: ChangeId) -> Result<ChangeId, FeedError> {
        match self.page(after, Duration::ZERO, 1).await {
            Ok(page) => Ok(page.head),
            // The log moved on or began anew: its beginning is always a place in it.
            Err(FeedError::Gone(_)) if after != ChangeId::ZERO => {
                self.page(ChangeId::ZERO, Duration::ZERO, 1).await.map(|page| page.head)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, after: ChangeId, wait: Duration, limit: usize) -> Result<Page, FeedError> {
        let query =
            [("after", after.to_string()), ("wait", format!("{}s", wait.as_secs())), ("limit", limit.to_string())];
        let response = self
            .client
            .get(&self.url)
            .query(&query)
            .send()
            .await
            .map_err(|error| FeedError::Unavailable(reason(error)))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return Err(FeedError::Gone(after)),
            status => return Err(FeedError::Unavailable(format!("the center answered {status}"))),
        }
        let head = head_of(&response)?;
        let changes = records(&body_of(response).await?, after)?;
        // Records may be committed between the head's reading and the body's: the page itself is the better witness.
        let head = changes.last().map_or(head, |last| head.max(last.id));
        Ok(Page { changes, head })
    }
}

fn head_of(response: &Response) -> Result<ChangeId, FeedError> {
    response
        .headers()
        .get(CHANGE_HEAD)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| FeedError::Malformed(format!("the answer has no valid {CHANGE_HEAD}")))
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, FeedError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| FeedError::Unavailable(reason(error)))? {
        if body.len() + chunk.len() > PAGE_BYTES_MAX {
            return Err(FeedError::Malformed(format!("the answer is larger than {PAGE_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The lines of a page; ids must grow and be after the one that was asked for.
fn records(body: &[u8], after: ChangeId) -> Result<Vec<Change>, FeedError> {
    let mut last = after;
    let mut changes = Vec::new();
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let change: Change = serde_json::from_slice(line)
            .map_err(|error| FeedError::Malformed(format!("the record after {last}: {error}")))?;
        let change = change.check_schema().map_err(|error| FeedError::Malformed(error.to_string()))?;
        if change.id <= last {
            return Err(FeedError::Malformed(format!("record {} follows {last}", change.id)));
        }
        last = change.id;
        changes.push(change);
    }
    Ok(changes)
}

#[cfg(test)]
pub(crate) mod tests;
