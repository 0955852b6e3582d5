//! One request to the administration listener.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::Value;
use shared::client::{ClientOptions, http_client};

use super::To;
use crate::config;

/// Pre-warming answers when it is done.
const PATIENCE: Duration = Duration::from_hours(1);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// What was asked makes no sense.
    Usage(String),
    /// The edge could not be asked, or could not do it.
    Edge(String),
}

/// Where to send requests, and with what token.
#[derive(Debug)]
pub(super) struct Client {
    base: Url,
    token: Option<String>,
}

impl Client {
    /// From the command line and, for the address, the configuration.
    pub(super) fn new(to: &To, config_file: Option<&Path>) -> Result<Self, Failed> {
        let base = if let Some(url) = &to.admin {
            url.clone()
        } else {
            let config = config::load(config_file).map_err(|error| Failed::Usage(error.to_string()))?;
            format!("http://{}", reachable(&config.admin))
        };
        let wrong = |error: &dyn std::fmt::Display| Failed::Usage(format!("--admin {base}: {error}"));
        let mut url = Url::parse(&base).map_err(|error| wrong(&error))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong(&"not an http or https URL with a host"));
        }
        url.set_path(&format!("{}/", url.path().trim_end_matches('/')));
        let token = match &to.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Failed::Usage(format!("--token-file {}: {error}", file.display())))?;
                Some(text.trim().to_owned())
            }
            None => std::env::var("MODTIER_EDGE_TOKEN").ok().filter(|token| !token.is_empty()),
        };
        Ok(Self { base: url, token })
    }

    /// GET, or POST of a body; the answer's JSON.
    pub(super) fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failed::Edge(error.to_string()))?;
        runtime.block_on(self.send(path, body))
    }

    async fn send(&self, path: &str, body: Option<&Value>) -> Result<Value, Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed::Edge(format!("{}: {error}", self.base));
        let url = self.base.join(path).map_err(|error| failed(&error))?;
        let options = ClientOptions { read_timeout: PATIENCE, ..ClientOptions::default() };
        let client = http_client(options).map_err(|error| failed(&error))?;
        let mut request = client.request(if body.is_some() { Method::POST } else { Method::GET }, url);
        if let Some(body) = body {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|error| {
            let why = if error.is_connect() { "no edge answers there".to_owned() } else { error.to_string() };
            failed(&why)
        })?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| failed(&error))?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let detail = value["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        match status.as_u16() {
            400 | 404 | 405 | 413 => Err(Failed::Usage(detail)),
            401 => Err(Failed::Edge(format!("{detail} (--token-file or MODTIER_EDGE_TOKEN)"))),
            _ => Err(Failed::Edge(detail)),
        }
    }
}

/// `text` as one element of a URL's path.
pub(super) fn path_segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

/// Where to reach a listener that listens on all addresses.
fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0" | "", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_is_reached_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1"), "[::1]:1");
        assert_eq!(reachable("10.0.0.1:1"), "10.0.0.1:1");
    }

    #[test]
    fn a_name_stays_one_element() {
        assert_eq!(path_segment("eu-1/../x y"), "eu-1%2F..%2Fx%20y");
    }
}
