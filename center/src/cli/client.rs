//! Requests of the command line to a running center. A credential comes from a file, the environment or `.netrc`: whoever may
//! list processes would read it from the arguments.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;
use shared::client::{ClientOptions, http_client};

use crate::upstream::netrc::{Machine, parse};

/// Names the token where no file does.
pub(crate) const TOKEN_VARIABLE: &str = "MODTIER_TOKEN";
/// How long the center may say nothing: it answers a large publish only when everything is on disk.
const PATIENCE: Duration = Duration::from_mins(5);
/// The longest part of an answer that is shown.
const SHOWN_CHARS_MAX: usize = 500;

/// Who asks.
#[derive(Debug, Args)]
pub(crate) struct Credential {
    /// File with the token; without one `MODTIER_TOKEN`, then .netrc
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Whether nothing but .netrc counts.
    #[arg(skip)]
    netrc_alone: bool,
}

/// A server, and who asks it.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    login: Option<Sent>,
}

enum Sent {
    Bearer(String),
    Basic(Machine),
}

impl Client {
    /// A client of what is below this URL.
    pub(crate) fn new(base: &str, credential: &Credential) -> anyhow::Result<Self> {
        let mut base = Url::parse(base).with_context(|| format!("{base:?} is not a URL"))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            bail!("{base}: a URL that begins with http:// or https:// is needed");
        }
        if !base.username().is_empty() || base.password().is_some() {
            bail!("a credential does not belong into a URL; use --token-file, {TOKEN_VARIABLE} or .netrc");
        }
        base.set_path(&format!("{}/", base.path().trim_end_matches('/')));
        let http = http_client(ClientOptions { read_timeout: PATIENCE, ..ClientOptions::default() });
        let login = credential.find(base.host_str().unwrap_or_default())?;
        Ok(Self { http: http.context("the HTTP client cannot be set up")?, base, login })
    }

    /// The URL that everything is below.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// A request with the credential.
    pub(crate) fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let url = self.base.join(path).with_context(|| format!("{path:?} is no part of a URL"))?;
        let request = self.http.request(method, url);
        Ok(match &self.login {
            Some(Sent::Bearer(token)) => request.bearer_auth(token),
            Some(Sent::Basic(machine)) => request.basic_auth(&machine.login, Some(&machine.password)),
            None => request,
        })
    }

    /// Sends; none where the answer is 403, 404 or 410: it is known that there is nothing to be had.
    pub(crate) async fn find(&self, request: RequestBuilder) -> anyhow::Result<Option<Response>> {
        let response = request.send().await.map_err(|error| unreachable_server(&self.base, &error))?;
        if matches!(response.status().as_u16(), 403 | 404 | 410) {
            return Ok(None);
        }
        self.judge(response).await.map(Some)
    }

    /// Sends, and turns what is no success into an error with the server's own words.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| unreachable_server(&self.base, &error))?;
        self.judge(response).await
    }

    async fn judge(&self, response: Response) -> anyhow::Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let problem = serde_json::from_str::<Value>(&text).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or(text.trim());
        let detail: String = detail.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
        let hint = match status.as_u16() {
            401 => format!(" (--token-file, {TOKEN_VARIABLE} or .netrc)"),
            300..=399 => " (redirects are not followed, as a credential would go with them)".to_owned(),
            _ => String::new(),
        };
        bail!("{} answered {status}: {detail}{hint}", origin(&self.base))
    }
}

impl Credential {
    /// For a server other than the one that the command is about: the token is not for it.
    pub(crate) const fn of_netrc() -> Self {
        Self { token_file: None, netrc_alone: true }
    }

    fn find(&self, host: &str) -> anyhow::Result<Option<Sent>> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path).with_context(|| format!("--token-file {}", path.display()))?;
            return Ok(Some(Sent::Bearer(text.trim().to_owned())));
        }
        if let Some(token) =
            std::env::var(TOKEN_VARIABLE).ok().filter(|token| !self.netrc_alone && !token.trim().is_empty())
        {
            return Ok(Some(Sent::Bearer(token.trim().to_owned())));
        }
        let named = std::env::var_os("NETRC").filter(|name| !name.is_empty()).map(PathBuf::from);
        let Some(path) = named.or_else(|| std::env::home_dir().map(|home| home.join(".netrc"))) else {
            return Ok(None);
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let of_host = |machine: &Machine| machine.host.as_deref() == Some(host);
                Ok(parse(&text).into_iter().find(of_host).map(Sent::Basic))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }
}

/// The innermost cause says what happened: refused, a name unknown, a certificate.
fn unreachable_server(base: &Url, error: &reqwest::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    anyhow::anyhow!("{} cannot be asked: {cause}", origin(base))
}

fn origin(base: &Url) -> String {
    base.origin().ascii_serialization()
}
