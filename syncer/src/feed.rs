//! The client of the center's change feed: `GET /api/v1/repos/<r>/changes`.

use std::time::Duration;

use http::StatusCode;
use reqwest::Response;
use shared::change::ChangeId;
use shared::sync::log::{CHANGE_HEAD, PAGE_BYTES_MAX};
use shared::sync::{Log, LogError, Page};

use crate::tier::TierClient;
use crate::url::reason;

/// How much longer than the long poll itself an answer may take.
const ANSWER_SLACK: Duration = Duration::from_secs(10);

/// One repository's feed.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    client: TierClient,
    center: String,
    repository: String,
}

impl Feed {
    /// The feed of `repository` at the center with this base URL.
    pub(crate) fn new(client: TierClient, center: &str, repository: &str) -> Self {
        Self { client, center: center.to_owned(), repository: repository.to_owned() }
    }

    async fn ask(&self, after: ChangeId, wait: Duration, limit: usize) -> Result<Page, LogError> {
        let query =
            [("after", after.to_string()), ("wait", format!("{}s", wait.as_secs())), ("limit", limit.to_string())];
        let request = self.client.get(&self.center, &format!("api/v1/repos/{}/changes", self.repository));
        let response = request.query(&query).send().await.map_err(|error| LogError::Unavailable(reason(error)))?;
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
