//! Requests to the edges' administrations, with the token that they ask for.

use reqwest::{Client, RequestBuilder};

use crate::config::Config;
use crate::error::SyncerError;
use crate::url::join;

/// A client of all edges.
#[derive(Clone)]
pub(crate) struct EdgeClient {
    client: Client,
    token: Option<String>,
}

impl std::fmt::Debug for EdgeClient {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeClient").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

impl EdgeClient {
    /// With the token of the configuration, which may stand in a file.
    pub(crate) fn new(client: Client, config: &Config) -> Result<Self, SyncerError> {
        let token = config.token_for_edges().map_err(SyncerError::Setting)?;
        Ok(Self { client, token })
    }

    /// `GET` of a path below an edge's administration.
    pub(crate) fn get(&self, base: &str, path: &str) -> RequestBuilder {
        self.with_token(self.client.get(join(base, path)))
    }

    /// `POST` of the same.
    pub(crate) fn post(&self, base: &str, path: &str) -> RequestBuilder {
        self.with_token(self.client.post(join(base, path)))
    }

    fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}
