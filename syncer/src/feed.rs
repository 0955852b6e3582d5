//! The client of the center's change feed: `GET /api/v1/repos/<r>/changes`.

use std::time::Duration;

use http::StatusCode;
use reqwest::{Client, Response};
use shared::change::ChangeId;
use shared::sync::log::{CHANGE_HEAD, PAGE_BYTES_MAX};
use shared::sync::{Log, LogError, Page};

use crate::url::{join, reason};

/// How much longer than the long poll itself an answer may take.
const ANSWER_SLACK: Duration = Duration::from_secs(10);

/// One repository's feed.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    client: Client,
    url: String,
    repository: String,
}

impl Feed {
    /// The feed of `repository` at the center with this base URL.
    pub(crate) fn new(client: Client, center: &str, repository: &str) -> Self {
        let url = join(center, &format!("api/v1/repos/{repository}/changes"));
        Self { client, url, repository: repository.to_owned() }
    }

    async fn ask(&self, after: ChangeId, wait: Duration, limit: usize) -> Result<Page, LogError> {
        let query =
            [("after", after.to_string()), ("wait", format!("{}s", wait.as_secs())), ("limit", limit.to_string())];
        let response = self
            .client
            .get(&self.url)
            .query(&query)
            .send()
            .await
            .map_err(|error| LogError::Unavailable(reason(error)))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return Err(LogError::Gone(after)),
            status => return Err(LogError::Unavailable(format!("the center answered {status}"))),
        }
        let head = response.headers().get(CHANGE_HEAD).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        Page::read(head.as_deref(), &body_of(response).await?, &self.repository)
    }
}

impl Log for Feed {
    async fn page(&self, after: ChangeId, wait: Duration, limit: usize) -> Result<Page, LogError> {
        tokio::time::timeout(wait + ANSWER_SLACK, self.ask(after, wait, limit))
            .await
            .unwrap_or_else(|_| Err(LogError::Unavailable(format!("no answer within {:?}", wait + ANSWER_SLACK))))
    }
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, LogError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| LogError::Unavailable(reason(error)))? {
        if body.len() + chunk.len() > PAGE_BYTES_MAX {
            return Err(LogError::Malformed(format!("the answer is larger than {PAGE_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
pub(crate) mod tests;
