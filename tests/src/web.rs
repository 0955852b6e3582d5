//! An HTTP client for tests: no redirects, no proxies, no pooled connection of one test in another.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::HeaderMap;
use reqwest::{ClientBuilder, Method, RequestBuilder, Version};

use crate::authority::Authority;

/// A client with a base URL.
#[derive(Debug, Clone)]
pub struct Web {
    client: reqwest::Client,
    base: String,
}

/// An answer that was read to its end, or as far as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The version of HTTP that was spoken.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as it came.
    pub body: Bytes,
    /// Whether the body ended as HTTP says it must: with its length or its last chunk.
    pub complete: bool,
}

impl Web {
    /// Requests below this base; each may take two minutes.
    pub fn new(base: &str) -> Self {
        Self::with(base, |client| client)
    }

    /// Requests by a client that is made otherwise.
    ///
    /// # Panics
    /// When it cannot be made so.
    pub fn with(base: &str, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        // Ring is chosen once a process; a second choice is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_mins(2));
        let client = change(client).build().expect("a client without files or addresses can be built");
        Self { client, base: base.trim_end_matches('/').to_owned() }
    }

    /// Requests over TLS to a server whose certificate is from this authority and no other.
    pub fn trusting(base: &str, authority: &Authority) -> Self {
        Self::with(base, |client| client.tls_certs_only([authority.root()]))
    }

    /// A request to be added to. `path` is below the base.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/{path}", self.base))
    }

    /// GET, or the reason why there was no answer.
    pub async fn try_get(&self, path: &str) -> Result<Reply, String> {
        Self::send(self.request(Method::GET, path)).await
    }

    /// GET.
    ///
    /// # Panics
    /// When there was no answer.
    pub async fn get(&self, path: &str) -> Reply {
        self.try_get(path).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// GET of what is held; nothing is fetched (`Disable-Module-Fetch`).
    pub async fn get_held(&self, path: &str) -> Reply {
        Self::send(self.request(Method::GET, path).header("Disable-Module-Fetch", "true"))
            .await
            .unwrap_or_else(|error| panic!("GET {path} (held): {error}"))
    }

    /// PUT with a bearer token.
    pub async fn put(&self, path: &str, token: Option<&str>, body: impl Into<Bytes>) -> Result<Reply, String> {
        let mut request = self.request(Method::PUT, path).body(body.into());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Self::send(request).await
    }

    /// Sends and reads to the end.
    pub async fn send(request: RequestBuilder) -> Result<Reply, String> {
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let (status, version, headers) = (answer.status().as_u16(), answer.version(), answer.headers().clone());
        let (mut body, mut complete) = (Vec::new(), true);
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            if let Ok(chunk) = chunk {
                body.extend_from_slice(&chunk);
            } else {
                complete = false;
                break;
            }
        }
        Ok(Reply { status, version, headers, body: body.into(), complete })
    }
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// A header's text, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether this is a complete 200.
    pub fn is_whole(&self) -> bool {
        self.status == 200 && self.complete
    }
}
