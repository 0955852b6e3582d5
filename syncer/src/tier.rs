//! Requests to the other tiers, with the token that they ask for.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use reqwest::{Client, RequestBuilder};
use shared::access::Bearer;

use crate::config::Config;
use crate::error::SyncerError;
use crate::url::join;

/// A client of the center, or of all edges' administrations. Its clones share the token.
#[derive(Debug, Clone)]
pub(crate) struct TierClient {
    client: Client,
    bearer: Option<Arc<Bearer>>,
}

impl TierClient {
    /// Of the center, with the token of the configuration.
    pub(crate) fn of_center(client: Client, config: &Config) -> Result<Self, SyncerError> {
        Self::with(client, Bearer::open("center_token", &config.center_token, &config.center_token_file))
    }

    /// Of the edges' administrations, with theirs.
    pub(crate) fn of_edges(client: Client, config: &Config) -> Result<Self, SyncerError> {
        Self::with(client, Bearer::open("edges_token", &config.edges_token, &config.edges_token_file))
    }

    /// Of whoever asks for no token.
    pub(crate) const fn open(client: Client) -> Self {
        Self { client, bearer: None }
    }

    fn with(client: Client, bearer: Result<Bearer, String>) -> Result<Self, SyncerError> {
        Ok(Self { client, bearer: Some(Arc::new(bearer.map_err(SyncerError::Setting)?)) })
    }

    /// `GET` of a path below a base URL.
    pub(crate) fn get(&self, base: &str, path: &str) -> RequestBuilder {
        self.authorized(self.client.get(join(base, path)))
    }

    /// `POST` of the same.
    pub(crate) fn post(&self, base: &str, path: &str) -> RequestBuilder {
        self.authorized(self.client.post(join(base, path)))
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match self.bearer.as_ref().and_then(|bearer| bearer.header()) {
            Some(header) => request.header(AUTHORIZATION, header),
            None => request,
        }
    }
}
