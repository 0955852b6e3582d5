//! Who may do what below `/api/v1/`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use shared::access::{AccessConfig, Denied, Grant, Place};

use super::problem::problem;
use crate::config::Config;

/// The tokens that count, if any are asked for.
#[derive(Debug)]
pub(crate) struct Access(Option<shared::access::Access>);

impl Access {
    /// Reads the file of tokens, if one is set; one that cannot be read is an error.
    pub(crate) fn open(config: &Config) -> Result<Self, String> {
        let Some(file) = &config.admin_access.tokens_file else { return Ok(Self(None)) };
        let settings = AccessConfig { tokens_file: Some(file.clone()), anonymous: Vec::new() };
        let access = shared::access::Access::open(&settings);
        access.map(|access| Self(Some(access))).map_err(|error| format!("admin_access.tokens_file: {error}"))
    }

    fn check(&self, headers: &HeaderMap) -> Result<String, Denied> {
        let Some(access) = &self.0 else { return Ok("anonymous".to_owned()) };
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        access.check(authorization, Grant::Admin, Place::Everywhere).map(|identity| identity.name().to_owned())
    }
}

/// Lets a request through, or answers why not.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    // Only browsers send `Origin`: a page must not act through an operator's browser that reaches this listener.
    if request.headers().contains_key(header::ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "not from a web page");
    }
    match access.check(request.headers()) {
        Ok(who) => {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let response = next.run(request).await;
            if method != axum::http::Method::GET {
                tracing::info!(%who, %method, path, status = response.status().as_u16(), "administration");
            }
            response
        }
        Err(denied @ Denied::Unauthenticated) => {
            let mut response = problem(StatusCode::UNAUTHORIZED, &denied.to_string());
            let scheme = HeaderValue::from_static("Basic realm=\"modtier\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            response
        }
        Err(denied @ Denied::Forbidden) => problem(StatusCode::FORBIDDEN, &denied.to_string()),
    }
}
