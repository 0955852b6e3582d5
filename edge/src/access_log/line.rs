//! A line of the access log, as JSON with the names of the Elastic Common Schema or as text for people.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use http::Version;
use serde::Serialize;
use shared::telemetry::{ECS_VERSION, LogFormat};

/// What a line says of a request and its response: no credential and no query.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// From the request's header to the end of the response.
    pub(crate) took: Duration,
    /// `X-Request-Id`.
    pub(crate) request_id: &'a str,
    /// The method.
    pub(crate) method: &'a str,
    /// The path as it came, without query.
    pub(crate) path: &'a str,
    /// HTTP's version.
    pub(crate) version: Version,
    /// The status sent.
    pub(crate) status: u16,
    /// Bytes of the body that went out.
    pub(crate) bytes: u64,
    /// Who asked.
    pub(crate) client: Option<IpAddr>,
    /// `User-Agent`.
    pub(crate) user_agent: Option<&'a [u8]>,
    /// The route's name.
    pub(crate) route: &'static str,
    /// What the cache made of it.
    pub(crate) cache: Option<&'static str>,
    /// Why the response broke off, if it did.
    pub(crate) broken: Option<&'a str>,
}

/// The line with the names of the schema.
#[derive(Serialize)]
struct Ecs<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: &'a str,
    #[serde(rename = "log.level")]
    level: &'static str,
    #[serde(rename = "log.logger")]
    logger: &'static str,
    #[serde(rename = "event.duration")]
    duration_ns: u64,
    #[serde(rename = "http.request.method")]
    method: &'a str,
    #[serde(rename = "http.request.id")]
    request_id: &'a str,
    #[serde(rename = "http.version")]
    version: &'a str,
    #[serde(rename = "url.path")]
    path: &'a str,
    #[serde(rename = "http.response.status_code")]
    status: u16,
    #[serde(rename = "http.response.body.bytes")]
    bytes: u64,
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(rename = "user_agent.original", skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
    #[serde(rename = "modtier.route")]
    route: &'static str,
    #[serde(rename = "modtier.cache", skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    #[serde(rename = "error.message", skip_serializing_if = "Option::is_none")]
    broken: Option<&'a str>,
    #[serde(rename = "ecs.version")]
    schema: &'static str,
}

impl Line<'_> {
    /// Appends the line, with its end, to `out`.
    pub(super) fn append(&self, format: LogFormat, timestamp: &str, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = match format {
            LogFormat::Json => serde_json::to_writer(&mut *out, &self.ecs(timestamp)).map_err(std::io::Error::from),
            LogFormat::Human => self.human(timestamp, out),
        };
        out.push(b'\n');
    }

    fn ecs<'a>(&'a self, timestamp: &'a str) -> Ecs<'a> {
        Ecs {
            timestamp,
            level: "info",
            logger: "access",
            duration_ns: u64::try_from(self.took.as_nanos()).unwrap_or(u64::MAX),
            method: self.method,
            request_id: self.request_id,
            version: version_number(self.version),
            path: path_only(self.path),
            status: self.status,
            bytes: self.bytes,
            client: self.client,
            user_agent: self.user_agent.map(String::from_utf8_lossy),
            route: self.route,
            cache: self.cache,
            broken: self.broken,
            schema: ECS_VERSION,
        }
    }

    fn human(&self, timestamp: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Self { method, status, bytes, request_id, .. } = self;
        let version = version_number(self.version);
        write!(out, "{timestamp} access {method} ")?;
        let path = path_only(self.path);
        // A client must not steer the terminal of who reads this.
        if path.bytes().all(|byte| byte.is_ascii_graphic()) {
            out.extend_from_slice(path.as_bytes());
        } else {
            write!(out, "{}", path.escape_debug())?;
        }
        write!(out, " HTTP/{version} {status} {bytes} B")?;
        write!(out, " {:.3} ms {}", self.took.as_secs_f64() * 1000.0, self.cache.unwrap_or("-"))?;
        if let Some(client) = self.client {
            write!(out, " {client}")?;
        }
        if let Some(agent) = self.user_agent {
            write!(out, " {:?}", String::from_utf8_lossy(agent))?;
        }
        write!(out, " {request_id}")?;
        if let Some(broken) = self.broken {
            write!(out, " broken: {}", broken.escape_debug())?;
        }
        Ok(())
    }
}

fn version_number(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// The path of what may also be a whole URL, in which a client can put a password.
fn path_only(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let after_scheme = target.split_once("://").map_or(target, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| &after_scheme[at..])
}
