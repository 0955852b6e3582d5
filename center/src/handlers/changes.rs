//! The change feed of a repository: NDJSON, with a long poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use shared::access::{Grant, Place};
use shared::change::{Change, ChangeId};
use shared::config::Period;

use super::module::authorize;
use crate::app::App;
use crate::envelope::Route;
use crate::error::Failure;
use crate::store::{ChangeLog, ReadError};

/// The id of the log's last record when the answer was made.
const X_CHANGE_HEAD: HeaderName = HeaderName::from_static("x-change-head");
/// The longest a request is held open.
const WAIT_MAX: Duration = Duration::from_mins(1);
const LIMIT_DEFAULT: usize = 1000;
const LIMIT_MAX: usize = 10_000;

/// `GET /api/v1/repos/<repository>/changes?after=<id>&wait=30s&limit=1000`
pub(crate) async fn changes(
    State(app): State<Arc<App>>,
    Path(repository): Path<String>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    authorize(&app, &headers, Grant::Read, Place::Repository(&repository))?;
    let repository = app.repository(&repository)?;
    let asked = Asked::read(&parameters)?;
    let log = app.store.change_log(repository.name())?;
    let (changes, head) = follow(&app, &log, &asked).await?;
    Ok(ndjson(&changes, head))
}

/// What the query asks for.
struct Asked {
    after: ChangeId,
    wait: Duration,
    limit: usize,
}

impl Asked {
    fn read(parameters: &HashMap<String, String>) -> Result<Self, Failure> {
        let bad = |name: &str, why: &str| Failure::BadRequest(format!("parameter {name}: {why}"));
        if let Some(unknown) = parameters.keys().find(|name| !["after", "wait", "limit"].contains(&name.as_str())) {
            return Err(bad(unknown, "there is no such parameter; there are after, wait and limit"));
        }
        let after = match parameters.get("after") {
            None => ChangeId::ZERO,
            Some(text) => text.parse().map_err(|_| bad("after", "not <epoch>-<seq>"))?,
        };
        let wait = match parameters.get("wait") {
            None => Duration::ZERO,
            Some(text) => {
                let seconds = text.parse().ok().map(Duration::from_secs);
                let wait = seconds.or_else(|| text.parse::<Period>().ok().map(Period::get));
                wait.ok_or_else(|| bad("wait", "not a length of time such as 30s"))?.min(WAIT_MAX)
            }
        };
        let limit = match parameters.get("limit") {
            None => LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .ok_or_else(|| bad("limit", "not a number from 1 to 10000"))?,
        };
        Ok(Self { after, wait, limit })
    }
}

/// Reads what comes after an id, waiting for it if there is nothing yet.
async fn follow(app: &App, log: &ChangeLog, asked: &Asked) -> Result<(Vec<Change>, ChangeId), Failure> {
    // Subscribed before reading: a record that is committed in between wakes the wait.
    let mut head = log.watch();
    // Beyond what is known here may be what another replica has committed a moment ago, and told the reader.
    let known = log.head();
    if asked.after.epoch == known.epoch
        && asked.after > known
        && let Err(error) = app.store.refresh().await
    {
        tracing::debug!(%error, "the changes of other replicas cannot be seen");
    }
    let changes = read_after(log, asked).await?;
    if !changes.is_empty() || asked.wait.is_zero() {
        return Ok((changes, log.head()));
    }
    let seen = log.head();
    tokio::select! {
        // An error means that the log is gone with the store; then there is nothing to wait for.
        _ = tokio::time::timeout(asked.wait, head.wait_for(|head| *head != seen || *head > asked.after)) => {}
        () = app.stopped() => {}
    }
    Ok((read_after(log, asked).await?, log.head()))
}

async fn read_after(log: &ChangeLog, asked: &Asked) -> Result<Vec<Change>, Failure> {
    let oldest = log.oldest();
    // 0-0 asks for whatever is kept; an id that names a trimmed record is the reader's gap and must be told.
    let from_oldest = ChangeId { epoch: oldest.epoch, seq: oldest.seq.saturating_sub(1) };
    let after = if asked.after == ChangeId::ZERO { from_oldest } else { asked.after };
    match log.read_after(after, asked.limit).await {
        Ok(changes) => Ok(changes),
        Err(error @ ReadError::Unknown { .. }) => Err(Failure::History(error.to_string())),
        Err(ReadError::Store(error)) => Err(error.into()),
    }
}

fn ndjson(changes: &[Change], head: ChangeId) -> Response {
    let mut body = Vec::with_capacity(changes.len() * 256);
    for change in changes {
        // Strings and numbers into memory: this cannot fail.
        if serde_json::to_writer(&mut body, change).is_ok() {
            body.push(b'\n');
        }
    }
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(head) = HeaderValue::from_str(&head.to_string()) {
        headers.insert(X_CHANGE_HEAD, head);
    }
    response.extensions_mut().insert(Route("changes"));
    response
}
