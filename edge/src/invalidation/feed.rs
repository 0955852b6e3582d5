//! The center's change feed: newline-delimited records over a long poll.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use shared::change::{Change, ChangeId};

use super::{Arrived, Source, SourceError, anything_changed};
use crate::app::App;

/// Records asked for at a time.
const LIMIT: usize = 1000;

/// Largest answer that is read: a thousand records have some hundred bytes each.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How much longer than its long poll an answer may take.
const SLACK: Duration = Duration::from_secs(15);

/// The feed of the repository that is served.
pub(crate) struct Feed {
    app: Arc<App>,
    /// How long the center waits for a record before it answers with none.
    pub(crate) wait: Duration,
}

impl Feed {
    /// The feed of `app`'s repository.
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app, wait: Duration::from_secs(30) }
    }
}

impl Source for Feed {
    async fn next(&mut self, cursor: ChangeId) -> Result<Arrived, SourceError> {
        let path = format!("changes?after={cursor}&wait={}s&limit={LIMIT}", self.wait.as_secs());
        let patience = self.wait + SLACK;
        let response = self.app.upstream.ask_api(&path, patience).await.map_err(|error| SourceError(error.message))?;
        let status = response.status();
        let head = head_of(response.headers());
        match status {
            StatusCode::OK => {}
            StatusCode::GONE => return Ok(Arrived::Lost(format!("the feed no longer has {cursor}"))),
            other => return Err(SourceError(format!("the feed answered {other}"))),
        }
        let body = read_text(response, patience).await?;
        let repo = &self.app.config().repository;
        let changes = body.lines().filter(|line| !line.is_empty()).map(|line| read_record(line, repo));
        Ok(Arrived::Changes { changes: changes.collect::<Result<_, _>>()?, head })
    }

    async fn applied(&mut self, _: ChangeId) -> Result<(), SourceError> {
        // The next request names the cursor; that is all the feed needs to know.
        Ok(())
    }
}

/// `X-Change-Head`.
pub(super) fn head_of(headers: &HeaderMap) -> Option<ChangeId> {
    headers.get("x-change-head")?.to_str().ok()?.parse().ok()
}

/// A body of the center's administration as text.
pub(super) async fn read_text(mut response: reqwest::Response, patience: Duration) -> Result<String, SourceError> {
    let reading = async {
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|_| SourceError("the answer broke off".into()))? {
            if body.len() + bytes.len() > ANSWER_BYTES_MAX {
                return Err(SourceError("the answer is too large".into()));
            }
            body.extend_from_slice(&bytes);
        }
        String::from_utf8(body).map_err(|_| SourceError("the answer is no text".into()))
    };
    let slow = |_| SourceError("the answer did not end in time".into());
    tokio::time::timeout(patience, reading).await.map_err(slow)?
}

fn read_record(line: &str, repo: &str) -> Result<Change, SourceError> {
    let read = serde_json::from_str::<Change>(line).map_err(|error| error.to_string());
    match read.and_then(|change| change.check_schema().map_err(|error| error.to_string())) {
        Ok(change) => Ok(change),
        Err(error) => {
            // A newer center's record: what it means is unknown, that it happened is not.
            #[derive(serde::Deserialize)]
            struct OnlyId {
                id: ChangeId,
            }
            let OnlyId { id } = serde_json::from_str(line)
                .map_err(|_| SourceError(format!("a line of the feed is no record: {error}")))?;
            tracing::warn!(%id, %error, "a change record cannot be read: taken as a change of everything");
            Ok(anything_changed(id, repo))
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::change::Kind;

    use super::*;

    #[test]
    fn a_record_of_a_newer_form_changes_everything() {
        let line = r#"{"id":"5-7","repo":"r","event_type":"EXPLODE","kind":"cosmos","schema":2}"#;
        let change = read_record(line, "r").unwrap();
        assert_eq!((change.id, change.kind), (ChangeId { epoch: 5, seq: 7 }, Kind::All));
    }

    #[test]
    fn a_line_without_an_id_is_an_error() {
        assert!(read_record("{}", "r").is_err());
        assert!(read_record("<html>", "r").is_err());
    }
}
