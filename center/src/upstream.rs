//! The client of one GOPROXY server: what is asked, what its answers mean, and how long it may take.
//!
//! Nothing said here reaches a client of ours with a host name or a credential in it; those go to the log only.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{
    ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER, VIA,
};
use reqwest::{StatusCode, Url};
use shared::client::{ClientOptions, http_client};
use shared::request::ModuleRequest;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::repository::RepoError;

/// How many redirects are followed: some servers keep their zips elsewhere.
const REDIRECTS_MAX: usize = 5;

/// How many requests one upstream is asked at a time; more wait.
const CONCURRENT_MAX: usize = 200;

/// How much of an error's body is read for its reason, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// When to ask again an upstream that could not be asked and did not say.
const RETRY_DEFAULT: Duration = Duration::from_secs(5);

/// How long an upstream may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the connection.
    pub(crate) connect: Duration,
    /// From the request to the first byte of the answer.
    pub(crate) first_byte: Duration,
    /// Between two pieces of a body.
    pub(crate) stall: Duration,
}

/// One GOPROXY server.
#[derive(Debug)]
pub(crate) struct Upstream {
    base: Url,
    client: reqwest::Client,
    patience: Patience,
    via: HeaderValue,
    places: Semaphore,
}

/// By which an upstream can tell that nothing changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Validators {
    /// For `If-None-Match`.
    pub(crate) etag: Option<String>,
    /// For `If-Modified-Since`.
    pub(crate) last_modified: Option<String>,
}

/// An upstream's answer.
#[derive(Debug)]
pub(crate) enum Reply<'a> {
    /// 200.
    Found(Incoming<'a>),
    /// 304.
    NotModified,
}

/// A body on its way. It takes one of the upstream's places until it is dropped.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    what: String,
    response: reqwest::Response,
    stall: Duration,
    _place: SemaphorePermit<'a>,
}

impl Upstream {
    /// A client of the server at `base`. `via` is how this center calls itself, so that a request that comes back to it is
    /// known as such.
    pub(crate) fn new(base: &str, patience: Patience, via: HeaderValue) -> Result<Self, String> {
        let mut base = Url::parse(base).map_err(|error| format!("not a URL: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(format!("scheme {:?} is neither http nor https", base.scheme()));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err("a base URL has no query and no fragment".to_owned());
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let options = ClientOptions {
            connect_timeout: patience.connect,
            // The two time-outs below are the ones that count; this one only must not be shorter.
            read_timeout: patience.first_byte.max(patience.stall) + Duration::from_secs(5),
            redirects_max: 0,
        };
        let client = http_client(options).map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { base, client, patience, via, places: Semaphore::new(CONCURRENT_MAX) })
    }

    /// Asks for an artefact. Every answer but 200 and 304 is an error that says what it means for us.
    pub(crate) async fn get(&self, request: &ModuleRequest, validators: &Validators) -> Result<Reply<'_>, RepoError> {
        let what = describe(request);
        let place = self.places.acquire().await.map_err(|_| unavailable(&what, RETRY_DEFAULT))?;
        let mut url = self.url_of(request);
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(&what, url.clone(), validators).await?;
            let status = response.status();
            if status == StatusCode::OK {
                let stall = self.patience.stall;
                return Ok(Reply::Found(Incoming { what, response, stall, _place: place }));
            }
            if status == StatusCode::NOT_MODIFIED {
                return Ok(Reply::NotModified);
            }
            let Some(next) = redirect(&url, &response) else {
                return Err(self.meaning(&what, response).await);
            };
            url = next;
        }
        Err(RepoError::Upstream(format!("{what}: the upstream redirects without end")))
    }

    async fn send(&self, what: &str, url: Url, validators: &Validators) -> Result<reqwest::Response, RepoError> {
        let mut request = self.client.get(url).header(VIA, self.via.clone());
        if let Some(etag) = &validators.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(time) = &validators.last_modified {
            request = request.header(IF_MODIFIED_SINCE, time);
        }
        match timeout(self.patience.first_byte, request.send()).await {
            Err(_) => Err(too_slow(what)),
            Ok(Err(error)) => Err(failed(what, &error)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// What any other status means.
    async fn meaning(&self, what: &str, response: reqwest::Response) -> RepoError {
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let reason = self.reason(response).await;
        let told = || reason.clone().unwrap_or_else(|| what.to_owned());
        match status {
            StatusCode::NOT_FOUND => RepoError::NotFound(told()),
            StatusCode::GONE => RepoError::Gone(told()),
            StatusCode::FORBIDDEN => RepoError::Blocked(told()),
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                tracing::warn!(what, status = status.as_u16(), reason, "the upstream wants another credential");
                RepoError::Credential(format!("{what}: the upstream refuses this center's credential"))
            }
            StatusCode::TOO_MANY_REQUESTS => unavailable(what, retry_after.unwrap_or(RETRY_DEFAULT)),
            _ => {
                tracing::warn!(what, status = status.as_u16(), reason, "the upstream failed");
                RepoError::Upstream(format!("{what}: the upstream answered with status {}", status.as_u16()))
            }
        }
    }

    /// The first line of an error's body, if it is plain text and names no host of the upstream's.
    async fn reason(&self, response: reqwest::Response) -> Option<String> {
        let is_text = response
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
        if !is_text {
            return None;
        }
        let mut response = response;
        let mut body = Vec::new();
        while body.len() < REASON_BYTES_MAX {
            match timeout(self.patience.stall, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        body.truncate(REASON_BYTES_MAX);
        let host = self.base.host_str().unwrap_or_default();
        first_line(&body).filter(|line| host.is_empty() || !line.contains(host))
    }

    fn url_of(&self, request: &ModuleRequest) -> Url {
        let mut url = self.base.clone();
        // `set_path` escapes what a path cannot hold, except the escape sign itself.
        let path = format!("{}/{}", request.module.escaped(), request.artefact.file_name()).replace('%', "%25");
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }
}

impl Incoming<'_> {
    /// The length that the upstream announced, in bytes.
    pub(crate) fn len(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// `Last-Modified`, or now.
    pub(crate) fn modified(&self) -> SystemTime {
        let stated = self.validators().last_modified;
        stated
            .and_then(|text| OffsetDateTime::parse(&text, &Rfc2822).ok())
            .map_or_else(SystemTime::now, SystemTime::from)
    }

    /// What to send when asking whether anything changed.
    pub(crate) fn validators(&self) -> Validators {
        let text = |name| self.response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Validators { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }

    /// The next piece; none at the end. A body that breaks off is an error.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RepoError> {
        match timeout(self.stall, self.response.chunk()).await {
            Err(_) => Err(too_slow(&self.what)),
            Ok(Err(error)) => Err(failed(&self.what, &error)),
            Ok(Ok(chunk)) => Ok(chunk),
        }
    }

    /// The whole body, at most `max` bytes.
    pub(crate) async fn body(mut self, max: u64) -> Result<Bytes, RepoError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (body.len() + chunk.len()) as u64 > max {
                return Err(too_large(&self.what, max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}

/// `example.com/a@v1.0.0.zip` and the like, for messages.
pub(crate) fn describe(request: &ModuleRequest) -> String {
    let name = request.artefact.file_name();
    format!("{}@{}", request.module, name.trim_start_matches("@v/").trim_start_matches('@'))
}

/// A body larger than we take.
pub(crate) fn too_large(what: &str, max: u64) -> RepoError {
    RepoError::Upstream(format!("{what}: the upstream's answer is larger than {max} bytes"))
}

fn too_slow(what: &str) -> RepoError {
    RepoError::Timeout(format!("{what}: the upstream is too slow"))
}

fn unavailable(what: &str, retry_after: Duration) -> RepoError {
    RepoError::Unavailable { msg: format!("{what}: the upstream cannot be asked now"), retry_after }
}

fn failed(what: &str, error: &reqwest::Error) -> RepoError {
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

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
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
    use super::*;

    fn upstream(base: &str) -> Result<Upstream, String> {
        let second = Duration::from_secs(1);
        Upstream::new(
            base,
            Patience { connect: second, first_byte: second, stall: second },
            HeaderValue::from_static("1.1 test"),
        )
    }

    #[test]
    fn paths_are_escaped_below_the_base() {
        use shared::artefact::Artefact;
        use shared::module::{ModulePath, Version};
        let upstream = upstream("http://user:secret@origin.test/proxy/").unwrap();
        let module = ModulePath::new("github.com/BurntSushi/toml").unwrap();
        let url = |artefact| upstream.url_of(&ModuleRequest { module: module.clone(), artefact }).path().to_owned();
        let version = Version::new(&module, "v1.0.0").unwrap();
        assert_eq!(url(Artefact::Zip(version)), "/proxy/github.com/!burnt!sushi/toml/@v/v1.0.0.zip");
        assert_eq!(url(Artefact::Latest), "/proxy/github.com/!burnt!sushi/toml/@latest");
        assert_eq!(url(Artefact::Query("a%b#c".to_owned())), "/proxy/github.com/!burnt!sushi/toml/@v/a%25b%23c.info");
    }

    #[test]
    fn unusable_bases_are_refused() {
        for base in ["", "origin.test", "ftp://origin.test", "http://origin.test/?x=1"] {
            assert!(upstream(base).is_err(), "{base}");
        }
    }

    #[test]
    fn a_reason_is_one_clean_line_without_our_prefix() {
        assert_eq!(first_line(b"not found: no such module\nstack trace").as_deref(), Some("no such module"));
        assert_eq!(first_line(b"a\x07b\r\n").as_deref(), Some("ab"));
        assert_eq!(first_line(b"\n"), None);
        assert_eq!(first_line(&[0xff]), None);
    }
}
