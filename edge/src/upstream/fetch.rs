//! One fill: ask the center, take its body in, prove it, commit it. Requests and background refreshes both come here.
//!
//! ```text
//! turn → ticket → held meanwhile? → ask ─┬─ 200 → spool and hash → prove → commit → let the tail go
//!                                        ├─ 304 → the held answer is confirmed
//!                                        ├─ 404, 410 → recorded
//!                                        └─ anything else → the readers' error; nothing is stored
//! ```
//! Only what the digest proves is committed and let go; every other end is a failure of every reader.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::Method;
use shared::change::ChangeId;
use shared::fill::{FillError, FillErrorKind, FillWriter};

use super::proof::Promise;
use super::spool::Spool;
use super::{FillHead, RouteKey, Taken, body};
use crate::app::{App, Kept};
use crate::cache::{CacheError, Entry, Freshness, Key, Status, Ticket};
use crate::limit::{Turn, Urgency};

/// What a fill needs besides the key.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    /// What is filled.
    pub(crate) key: Key,
    /// Its path below the repository, as the center takes it.
    pub(crate) path: String,
    /// What it is, in figures.
    pub(crate) artefact: &'static str,
    /// Which centers may be asked for it.
    pub(crate) route: RouteKey,
    /// Whether another answer may be right tomorrow.
    pub(crate) mutable: bool,
    /// Whether a center that does not know of all changes that this edge knows must not answer, though the artefact is no
    /// mutable one: its version was removed, and the answer may be of the time before.
    pub(crate) after_removal: bool,
    /// Whether it is begun ahead of any client.
    pub(crate) is_ahead: bool,
    /// The request's id, so that both tiers' logs can be joined.
    pub(crate) request_id: String,
    /// The tiers that the request came through.
    pub(crate) via: Option<String>,
}

impl Fetch {
    /// The headers of the request to the center, `held` being what it may confirm.
    pub(super) fn headers(&self, app: &App, held: Option<&Entry>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(header::TE, "trailers");
        put(header::VIA, &app.upstream.via(self.via.as_deref()));
        put(HeaderName::from_static("x-request-id"), &self.request_id);
        if self.mutable || self.after_removal {
            let cursor = app.cache.cursor(&app.config().repository);
            if cursor != ChangeId::ZERO {
                put(HeaderName::from_static("x-min-change-id"), &cursor.to_string());
            }
        }
        if let Some(entry) = held.filter(|entry| self.mutable && !entry.status.is_negative()) {
            put(header::IF_NONE_MATCH, &entry.meta.digest.etag());
        }
        headers
    }
}

/// Fills when its turn comes; whatever happens, every reader of `writer` learns of it.
pub(super) async fn fill(app: Arc<App>, fetch: Fetch, turn: Arc<Turn>, mut writer: FillWriter<FillHead>) {
    match run(&app, &fetch, turn, &mut writer).await {
        Ok(()) => writer.commit(),
        Err(error) => {
            if error.kind == FillErrorKind::Storage {
                app.cache.spooling_failed(&error.message);
            }
            tracing::info!(
                request_id = %fetch.request_id, path = %fetch.path, kind = ?error.kind, reason = %error.message,
                "not filled"
            );
            writer.fail(error);
        }
    }
}

async fn run(
    app: &Arc<App>,
    fetch: &Fetch,
    turn: Arc<Turn>,
    writer: &mut FillWriter<FillHead>,
) -> Result<(), FillError> {
    let limits = app.config().limits.queue();
    let _place = app.limits.place(&turn, limits).await?;
    let for_a_client = turn.urgency() == Urgency::Request;
    drop(turn);
    // What a fill waited for its turn says nothing of the centers.
    let started = Instant::now();
    ask(app, fetch, for_a_client, writer).await?;
    app.metrics.fetched(fetch.artefact, started.elapsed());
    Ok(())
}

async fn ask(
    app: &Arc<App>,
    fetch: &Fetch,
    for_a_client: bool,
    writer: &mut FillWriter<FillHead>,
) -> Result<(), FillError> {
    // Before anything is asked: a change that arrives from here on beats what this fill brings.
    let ticket = app.cache.ticket(&fetch.key);
    let held = app.on_disk(&fetch.key).await;
    let key = fetch.key.clone();
    if held.is_none() && app.with_cache(move |cache| cache.is_removed(&key)).await? {
        // It may be back, which this edge has not heard of yet.
        let fetch = Fetch { after_removal: true, ..fetch.clone() };
        return take(app, &fetch, None, ticket.after_removal(), (for_a_client, writer)).await;
    }
    if let Some((_, Freshness::Fresh)) = held {
        // Another fill of this key ended between the look-up that missed and the start of this one.
        writer.head(FillHead::Held { revalidated: false });
        return Ok(());
    }
    take(app, fetch, held.map(|(entry, _)| entry), ticket, (for_a_client, writer)).await
}

/// Asks a center and takes what it answers.
async fn take(
    app: &Arc<App>,
    fetch: &Fetch,
    held: Option<Entry>,
    ticket: Ticket,
    (for_a_client, writer): (bool, &mut FillWriter<FillHead>),
) -> Result<(), FillError> {
    let headers = fetch.headers(app, held.as_ref());
    let mut attempts = app.upstream.attempts(fetch);
    let taken = app.upstream.ask(&mut attempts, Method::GET, &fetch.path, headers).await?;
    let status = taken.response.status();
    match (status, held) {
        (StatusCode::OK, _) => {
            let mut spool = Spool::new(app, writer, for_a_client);
            let promise = body::take(app, fetch, &mut attempts, taken, &mut spool).await?;
            match spool.keep(app, ticket, promise).await? {
                Kept::Yes => Ok(()),
                Kept::Removed => Err(removed(app, fetch).await),
            }
        }
        (StatusCode::NOT_MODIFIED, Some(held)) => {
            let change_id = Promise::of(taken.response.headers()).change_id;
            let touched = app.with_cache(move |cache| cache.touch_revalidated(ticket, &held.meta, change_id)).await?;
            confirmed(touched)?;
            writer.head(FillHead::Held { revalidated: true });
            Ok(())
        }
        _ => Err(refusal(app, ticket, taken).await),
    }
}

/// What to say of a version that was removed while it was fetched: what the center says of it now. Where it is back already, the
/// readers that got nothing yet begin anew.
async fn removed(app: &Arc<App>, fetch: &Fetch) -> FillError {
    let fetch = &Fetch { after_removal: true, ..fetch.clone() };
    let unknown = FillError::new(FillErrorKind::Unavailable, "the version was removed while it was fetched");
    let ticket = app.cache.ticket(&fetch.key);
    let mut attempts = app.upstream.attempts(fetch);
    let Ok(taken) = app.upstream.ask(&mut attempts, Method::GET, &fetch.path, fetch.headers(app, None)).await else {
        return unknown;
    };
    if taken.response.status().is_success() {
        taken.attempt.succeeded();
        return FillError::new(FillErrorKind::Abandoned, "the version was removed and restored while it was fetched");
    }
    let error = refusal(app, ticket, taken).await;
    match error.kind {
        FillErrorKind::NotFound | FillErrorKind::Gone | FillErrorKind::Forbidden => error,
        FillErrorKind::Integrity
        | FillErrorKind::Upstream
        | FillErrorKind::Credential
        | FillErrorKind::Unavailable
        | FillErrorKind::Timeout
        | FillErrorKind::TooLarge
        | FillErrorKind::Storage
        | FillErrorKind::Abandoned => unknown,
    }
}

/// Anything but 200 and 304. A 404 or 410 is recorded; nothing else says anything about the artefact.
async fn refusal(app: &Arc<App>, ticket: Ticket, taken: Taken) -> FillError {
    let error = refused(taken.response).await;
    let status = match error.kind {
        FillErrorKind::NotFound => Status::NotFound,
        FillErrorKind::Gone => Status::Gone,
        FillErrorKind::Forbidden
        | FillErrorKind::Integrity
        | FillErrorKind::Upstream
        | FillErrorKind::Credential
        | FillErrorKind::Unavailable
        | FillErrorKind::Timeout
        | FillErrorKind::TooLarge
        | FillErrorKind::Storage
        | FillErrorKind::Abandoned => return error,
    };
    let message = error.message.clone();
    let recorded = app.with_cache(move |cache| cache.commit_negative(ticket, status, &message)).await;
    match recorded {
        Ok(Ok(())) => {}
        Ok(Err(trouble)) => tracing::warn!(%trouble, "a \"not found\" could not be recorded"),
        Err(trouble) => tracing::warn!(%trouble, "a \"not found\" could not be recorded"),
    }
    error
}

/// Whether what a 304 confirmed is still held.
fn confirmed(touched: Result<Option<Entry>, CacheError>) -> Result<(), FillError> {
    match touched {
        Ok(Some(_)) => Ok(()),
        // Who waits for it begins anew.
        Ok(None) => Err(FillError::new(FillErrorKind::Abandoned, "what was held went away while it was confirmed")),
        Err(error) => {
            tracing::warn!(%error, "a confirmation could not be recorded");
            Err(FillError::new(FillErrorKind::Storage, "the cache failed"))
        }
    }
}

/// The failure that a center's status stands for, with its own words where they are meant for the client.
pub(super) async fn refused(response: reqwest::Response) -> FillError {
    let status = response.status();
    let kind = match status {
        StatusCode::NOT_FOUND => FillErrorKind::NotFound,
        StatusCode::GONE => FillErrorKind::Gone,
        StatusCode::FORBIDDEN => FillErrorKind::Forbidden,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => FillErrorKind::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => FillErrorKind::Timeout,
        _ => FillErrorKind::Upstream,
    };
    let retry_after = shared::client::retry_after(response.headers());
    let said = first_line(response).await;
    let message = match kind {
        _ if !said.is_empty() => said,
        FillErrorKind::NotFound => "the center does not have it".to_owned(),
        FillErrorKind::Gone => "the center had it and removed it".to_owned(),
        FillErrorKind::Forbidden => "the center refuses it".to_owned(),
        FillErrorKind::Unavailable => "the center cannot answer now".to_owned(),
        FillErrorKind::Timeout => "the center waited too long for its source".to_owned(),
        FillErrorKind::Upstream
        | FillErrorKind::Credential
        | FillErrorKind::Integrity
        | FillErrorKind::TooLarge
        | FillErrorKind::Storage
        | FillErrorKind::Abandoned => format!("the center answered {}", status.as_u16()),
    };
    FillError { retry_after, ..FillError::new(kind, message) }
}

/// The center's one line without its prefix and request id, which this edge adds as its own.
async fn first_line(mut response: reqwest::Response) -> String {
    let is_text =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    if !is_text {
        return String::new();
    }
    let mut text = Vec::new();
    while text.len() < 4096 {
        match tokio::time::timeout(Duration::from_secs(5), response.chunk()).await {
            Ok(Ok(Some(bytes))) => text.extend_from_slice(&bytes),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&text);
    own_words(text.lines().next().unwrap_or_default())
}

fn own_words(line: &str) -> String {
    let mut line = line.trim();
    for prefix in ["not found: ", "gone: ", "blocked: ", "forbidden: ", "unavailable: "] {
        line = line.strip_prefix(prefix).unwrap_or(line);
    }
    if let Some((text, _)) = line.rsplit_once(" (request ") {
        line = text;
    }
    line.chars().filter(|c| !c.is_control()).take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centers_words_are_passed_on_once() {
        assert_eq!(
            own_words("not found: example.com/a@v1.0.0: unknown revision (request 0123)\n"),
            "example.com/a@v1.0.0: unknown revision"
        );
        assert_eq!(own_words("a\u{7}b"), "ab");
    }
}
