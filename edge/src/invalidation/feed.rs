//! The center's change feed: newline-delimited records over a long poll.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use shared::change::ChangeId;
use shared::sync::log::{CHANGE_HEAD, PAGE_BYTES_MAX};
use shared::sync::{Log, LogError, Page, SourceError};

use super::AT_A_TIME;
use crate::app::App;

/// How much longer than its long poll an answer may take.
const SLACK: Duration = Duration::from_secs(15);

/// The feed of the repository that is served.
pub(super) struct Feed(pub(super) Arc<App>);

impl Log for Feed {
    async fn page(&self, after: ChangeId, wait: Duration, limit: usize) -> Result<Page, LogError> {
        let limit = limit.min(AT_A_TIME);
        let path = format!("changes?after={after}&wait={}s&limit={limit}", wait.as_secs());
        let patience = wait + SLACK;
        let response =
            self.0.upstream.ask_api(&path, patience).await.map_err(|error| LogError::Unavailable(error.message))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return Err(LogError::Gone(after)),
            other => return Err(LogError::Unavailable(format!("the feed answered {other}"))),
        }
        let head = response.headers().get(CHANGE_HEAD).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let body = read_text(response, patience).await.map_err(|SourceError(reason)| LogError::Unavailable(reason))?;
        // Where something on the way dropped the header, the head is at least what was asked for.
        let head = head.unwrap_or_else(|| after.to_string());
        Page::read(Some(&head), body.as_bytes(), &self.0.config().repository)
    }
}

/// A body of the center's administration as text.
pub(super) async fn read_text(mut response: reqwest::Response, patience: Duration) -> Result<String, SourceError> {
    let reading = async {
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|_| SourceError("the answer broke off".into()))? {
            if body.len() + bytes.len() > PAGE_BYTES_MAX {
                return Err(SourceError("the answer is too large".into()));
            }
            body.extend_from_slice(&bytes);
        }
        String::from_utf8(body).map_err(|_| SourceError("the answer is no text".into()))
    };
    let slow = |_| SourceError("the answer did not end in time".into());
    tokio::time::timeout(patience, reading).await.map_err(slow)?
}
