//! The endpoint: `POST <url>/<operation>` with the question, 200 with the answer, 404 for what does not exist.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, StatusCode, Url};
use shared::client::{ClientOptions, http_client};
use shared::module::zip::ZIP_BYTES_MAX;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::{Question, reason};
use crate::repository::RepoError;
use crate::repository::private::incidents::unavailable;
use crate::repository::private::settings::{FetcherSettings, HostSettings, USERNAME_DEFAULT};

/// Largest answer that is not a zip, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How much of an error's text is read, in bytes.
const REASON_BYTES_MAX: u64 = 4 << 10;

/// An endpoint of the operator's. It is named in the configuration, so no rule of the egress proxy applies to it.
pub(in super::super) struct Http {
    base: String,
    client: reqwest::Client,
    host: Option<HostSettings>,
    limit: Duration,
}

impl Http {
    pub(super) fn new(settings: &FetcherSettings) -> Result<Self, String> {
        let limit = settings.timeout.get();
        let options = ClientOptions { read_timeout: limit, ..ClientOptions::default() };
        let client = http_client(options).map_err(|error| format!("fetcher: no HTTP client: {error}"))?;
        let base = settings.url.clone().unwrap_or_default();
        let host = Url::parse(&base).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let host = settings.hosts.get(&host).cloned();
        credential(host.as_ref())?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client, host, limit })
    }

    pub(super) async fn ask(&self, what: &str, question: &Question<'_>) -> Result<Bytes, RepoError> {
        let asked = async {
            let mut response = self.send(what, question).await?;
            let mut body = Vec::new();
            while let Some(chunk) = next(what, &mut response).await? {
                body.extend_from_slice(&chunk);
                if body.len() as u64 > ANSWER_BYTES_MAX {
                    return Err(RepoError::Upstream(format!("{what}: the external fetcher's answer is too large")));
                }
            }
            Ok(Bytes::from(body))
        };
        timeout(self.limit, asked).await.unwrap_or_else(|_| Err(too_slow(what)))
    }

    pub(super) async fn download(&self, what: &str, question: &Question<'_>, zip: &Path) -> Result<(), RepoError> {
        let asked = async {
            let mut response = self.send(what, question).await?;
            let mut file = tokio::fs::File::create(zip).await.map_err(|error| storage(&error))?;
            let mut len = 0;
            while let Some(chunk) = next(what, &mut response).await? {
                len += chunk.len() as u64;
                if len > ZIP_BYTES_MAX {
                    return Err(RepoError::Upstream(format!("{what}: the zip is larger than {ZIP_BYTES_MAX} bytes")));
                }
                file.write_all(&chunk).await.map_err(|error| storage(&error))?;
            }
            file.flush().await.map_err(|error| storage(&error))
        };
        timeout(self.limit, asked).await.unwrap_or_else(|_| Err(too_slow(what)))
    }

    async fn send(&self, what: &str, question: &Question<'_>) -> Result<Response, RepoError> {
        let mut request = self.client.post(format!("{}/{}", self.base, question.operation)).json(question);
        // Read anew each time: tokens are renewed.
        let credential = credential(self.host.as_ref()).map_err(|error| {
            tracing::error!(%error, "a credential cannot be read");
            unavailable(format!("{what}: a credential of the center's cannot be read"))
        })?;
        if let Some((username, password)) = credential {
            request = request.basic_auth(username, Some(password));
        }
        let mut response = request.send().await.map_err(|error| failed(what, &error))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() as u64 > REASON_BYTES_MAX {
                break;
            }
        }
        tracing::warn!(what, status = status.as_u16(), reason = reason(&text), "the external fetcher gave no answer");
        Err(match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => RepoError::NotFound(format!("{what}: {}", reason(&text))),
            StatusCode::FORBIDDEN => RepoError::Blocked(format!("{what}: {}", reason(&text))),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                unavailable(format!("{what}: the external fetcher cannot answer now"))
            }
            StatusCode::GATEWAY_TIMEOUT => too_slow(what),
            _ => RepoError::Upstream(format!("{what}: the external fetcher failed with status {}", status.as_u16())),
        })
    }
}

/// Name and password for the endpoint, if any are configured.
fn credential(host: Option<&HostSettings>) -> Result<Option<(String, String)>, String> {
    let Some(host) = host else { return Ok(None) };
    let username = host.username.clone().unwrap_or_else(|| USERNAME_DEFAULT.to_owned());
    let password = host.password().map_err(|why| format!("fetcher.hosts: {why}"))?;
    Ok(password.map(|password| (username, password)))
}

async fn next(what: &str, response: &mut Response) -> Result<Option<Bytes>, RepoError> {
    response.chunk().await.map_err(|error| failed(what, &error))
}

fn failed(what: &str, error: &reqwest::Error) -> RepoError {
    // Without the URL, which may hold a credential.
    let (is_connect, is_timeout) = (error.is_connect(), error.is_timeout());
    tracing::warn!(what, is_connect, is_timeout, "the external fetcher cannot be asked");
    if is_connect {
        return unavailable(format!("{what}: the external fetcher cannot be reached"));
    }
    if is_timeout {
        return too_slow(what);
    }
    RepoError::Upstream(format!("{what}: the external fetcher's answer broke off"))
}

fn too_slow(what: &str) -> RepoError {
    RepoError::Timeout(format!("{what}: the external fetcher is too slow"))
}

fn storage(error: &std::io::Error) -> RepoError {
    tracing::error!(%error, "the spool cannot be written to");
    RepoError::Storage("the center's storage failed; see its log".to_owned())
}
