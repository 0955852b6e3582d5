//! An answer of an upstream, and a body on its way.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{ETAG, LAST_MODIFIED};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::exchange::failed;
use super::server::{Sender, Server};
use super::{too_large, too_slow};
use crate::repository::RepoError;

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
    pub(super) what: String,
    pub(super) response: reqwest::Response,
    pub(super) stall: Duration,
    pub(super) server: &'a Server,
    pub(super) _place: SemaphorePermit<'a>,
}

impl<'a> Incoming<'a> {
    /// Who sends it.
    pub(crate) const fn sender(&self) -> Sender<'a> {
        Sender(self.server)
    }

    /// The length that the upstream announced, in bytes.
    pub(crate) fn len(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// `Last-Modified`, or now.
    pub(crate) fn modified(&self) -> SystemTime {
        let stated = self.stated_validators().last_modified;
        stated
            .and_then(|text| OffsetDateTime::parse(&text, &Rfc2822).ok())
            .map_or_else(SystemTime::now, SystemTime::from)
    }

    /// What to send when asking whether anything changed.
    pub(crate) fn validators(&self) -> Validators {
        if self.server.is_first { self.stated_validators() } else { Validators::default() }
    }

    fn stated_validators(&self) -> Validators {
        let text = |name| self.response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Validators { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }

    /// The next piece; none at the end. A body that breaks off is an error.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RepoError> {
        let chunk = match timeout(self.stall, self.response.chunk()).await {
            Err(_) => Err(too_slow(&self.what)),
            Ok(Err(error)) => Err(failed(&self.what, &error)),
            Ok(Ok(chunk)) => Ok(chunk),
        };
        match &chunk {
            Ok(Some(_)) => {}
            Ok(None) => self.server.breaker.succeeded(),
            Err(_) => self.server.failed(),
        }
        chunk
    }

    /// The whole body, at most `max` bytes.
    pub(crate) async fn body(mut self, max: u64) -> Result<Bytes, RepoError> {
        let mut body = Vec::new();
        let is_too_large = |len: u64| len > max;
        if self.len().is_some_and(is_too_large) {
            return Err(too_large(&self.what, max));
        }
        while let Some(chunk) = self.chunk().await? {
            if is_too_large((body.len() + chunk.len()) as u64) {
                return Err(too_large(&self.what, max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}
