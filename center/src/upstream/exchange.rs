//! One request to one server, redirects followed, and what its answer means.

use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LOCATION, VIA,
};
use reqwest::{StatusCode, Url};
use shared::request::ModuleRequest;
use tokio::time::{Instant, timeout};

use super::incoming::Validators;
use super::server::Server;
use super::{RETRY_DEFAULT, RETRY_MAX, Upstream, too_slow, unavailable};
use crate::repository::RepoError;

/// How many redirects are followed: some servers keep their zips elsewhere.
const REDIRECTS_MAX: usize = 5;
/// How much of an error's body is read for its reason, in bytes.
const REASON_BYTES_MAX: usize = 1024;
/// Answer only from what is held.
const DISABLE_MODULE_FETCH: &str = "disable-module-fetch";

impl Upstream {
    /// Asks one server, follows redirects to the answer, which is 200 or 304, and tells the server's breaker.
    pub(super) async fn follow(
        &self,
        what: &str,
        server: &Server,
        request: &ModuleRequest,
        validators: &Validators,
        held_only: bool,
    ) -> Result<reqwest::Response, RepoError> {
        let mut url = server.url_of(request);
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(what, server, url.clone(), validators, held_only).await?;
            match response.status() {
                // The body may still break off: judged at its end.
                StatusCode::OK => {
                    is_artefact(what, response.headers()).inspect_err(|_| server.failed())?;
                    return Ok(response);
                }
                StatusCode::NOT_MODIFIED => {
                    server.breaker.succeeded();
                    return Ok(response);
                }
                _ => {}
            }
            let Some(next) = redirect(&url, &response) else {
                return Err(self.meaning(what, server, response).await);
            };
            url = next;
        }
        server.failed();
        Err(RepoError::Upstream(format!("{what}: the upstream redirects without end")))
    }

    async fn send(
        &self,
        what: &str,
        server: &Server,
        url: Url,
        validators: &Validators,
        held_only: bool,
    ) -> Result<reqwest::Response, RepoError> {
        // What was begun over TLS tells its credential to nobody who listens.
        let is_private = url.scheme() == "https" || server.base.scheme() == "http";
        let authorization = self.outbound.authorization(&url).filter(|_| is_private).cloned();
        let mut request = self.clients.of(&url).get(url).header(VIA, self.manners.via.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if held_only {
            request = request.header(DISABLE_MODULE_FETCH, "true");
        }
        if let Some(etag) = validators.etag.as_ref().filter(|_| server.is_first) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(time) = validators.last_modified.as_ref().filter(|_| server.is_first) {
            request = request.header(IF_MODIFIED_SINCE, time);
        }
        let answer = match timeout(self.manners.patience.first_byte, request.send()).await {
            Err(_) => Err(too_slow(what)),
            Ok(Err(error)) => Err(failed(what, &error)),
            Ok(Ok(response)) => Ok(response),
        };
        answer.inspect_err(|_| server.failed())
    }

    /// What any other status means.
    async fn meaning(&self, what: &str, server: &Server, response: reqwest::Response) -> RepoError {
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        if status.is_server_error() {
            server.failed();
        } else {
            server.breaker.succeeded();
        }
        let reason = self.reason(server, response).await;
        let told = || reason.clone().unwrap_or_else(|| what.to_owned());
        match status {
            StatusCode::NOT_FOUND => return RepoError::NotFound(told()),
            StatusCode::GONE => return RepoError::Gone(told()),
            StatusCode::FORBIDDEN | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => return RepoError::Blocked(told()),
            _ => {}
        }
        tracing::warn!(what, status = status.as_u16(), reason, "the upstream failed");
        let failed = |how: &str| RepoError::Upstream(format!("{what}: the upstream {how}"));
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let pause = retry_after.unwrap_or(RETRY_DEFAULT);
                server.breaker.pause(Instant::now(), pause);
                unavailable(what, pause)
            }
            StatusCode::SERVICE_UNAVAILABLE => unavailable(what, retry_after.unwrap_or(RETRY_DEFAULT)),
            StatusCode::GATEWAY_TIMEOUT => too_slow(what),
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                RepoError::Credential(format!("{what}: the upstream refuses this center's credential"))
            }
            _ => failed(&format!("answered with status {}", status.as_u16())),
        }
    }

    /// The first line of an error's body, if it is plain text and names no host of the upstream's.
    async fn reason(&self, server: &Server, response: reqwest::Response) -> Option<String> {
        let is_text =
            response.headers().get(CONTENT_TYPE).is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
        if !is_text {
            return None;
        }
        let mut response = response;
        let mut body = Vec::new();
        while body.len() < REASON_BYTES_MAX {
            match timeout(self.manners.patience.stall, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        body.truncate(REASON_BYTES_MAX);
        let host = server.base.host_str().unwrap_or_default();
        first_line(&body).filter(|line| host.is_empty() || !line.contains(host))
    }
}

/// A page for people, or something that was compressed though nobody asked for it, is no artefact.
fn is_artefact(what: &str, headers: &HeaderMap) -> Result<(), RepoError> {
    let text =
        |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim().to_ascii_lowercase();
    if text(CONTENT_TYPE).starts_with("text/html") {
        return Err(RepoError::Upstream(format!("{what}: the upstream answered with a page for people")));
    }
    let encoding = text(CONTENT_ENCODING);
    if !encoding.is_empty() && encoding != "identity" {
        return Err(RepoError::Upstream(format!("{what}: the upstream compressed its answer")));
    }
    Ok(())
}

/// A request that failed on its way.
pub(super) fn failed(what: &str, error: &reqwest::Error) -> RepoError {
    tracing::warn!(what, error = %chain(error), "a request to the upstream failed");
    if error.is_connect() {
        return unavailable(what, RETRY_DEFAULT);
    }
    if error.is_timeout() {
        return too_slow(what);
    }
    RepoError::Upstream(format!("{what}: the upstream's answer broke off"))
}

/// An error with its causes; without the URL, which may hold a credential.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() { "connect" } else { "request or body" }.to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn redirect(url: &Url, response: &reqwest::Response) -> Option<Url> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| is_redirect)?.to_str().ok()?;
    url.join(location).ok().filter(|next| matches!(next.scheme(), "http" | "https"))
}

/// `Retry-After` in seconds or as a date, within reason.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    shared::client::retry_after(headers).map(|pause| pause.min(RETRY_MAX))
}

/// The first line without control characters and without the words that our own error table puts before it.
fn first_line(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut line = text.lines().next()?.trim();
    for prefix in ["not found: ", "gone: ", "blocked: "] {
        line = line.strip_prefix(prefix).unwrap_or(line).trim();
    }
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use reqwest::header::RETRY_AFTER;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc2822;

    use super::*;

    #[test]
    fn a_pause_is_stated_in_seconds_or_as_a_date_and_has_an_end() {
        let stated =
            |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]));
        assert_eq!(stated("7"), Some(Duration::from_secs(7)));
        assert_eq!(stated("86400"), Some(RETRY_MAX));
        assert_eq!(stated("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = OffsetDateTime::now_utc() + Duration::from_mins(1);
        let pause = stated(&soon.format(&Rfc2822).unwrap()).unwrap();
        assert!(pause > Duration::from_secs(50) && pause <= Duration::from_mins(1), "{pause:?}");
        assert_eq!(stated("soon"), None);
    }

    #[test]
    fn a_reason_is_one_clean_line_without_our_prefix() {
        assert_eq!(first_line(b"not found: no such module\nstack trace").as_deref(), Some("no such module"));
        assert_eq!(first_line(b"a\x07b\r\n").as_deref(), Some("ab"));
        assert_eq!(first_line(b"\n"), None);
        assert_eq!(first_line(&[0xff]), None);
    }
}
