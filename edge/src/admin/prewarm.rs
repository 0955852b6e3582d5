//! `POST /api/v1/prewarm`: fetches what is not held yet, by the same fills that requests use.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use shared::artefact::Artefact;
use shared::module::{ModulePath, Version};
use shared::request::{ModuleRequest, Request};

use super::problem::{answer, problem, read};
use crate::app::App;
use crate::error::EdgeError;
use crate::serve::warm::warm;

/// Most artefacts of one call.
const ARTEFACTS_MAX: usize = 20_000;

/// Fills at one time: the center has requests to answer besides.
const AT_ONCE: usize = 16;

/// What to fetch.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    /// Paths below the base, or `module@version` for its info, mod and zip.
    artefacts: Vec<String>,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    held: usize,
    filled: usize,
    failed: usize,
    artefacts: Vec<Item>,
}

/// What came of one artefact.
#[derive(Debug, Serialize)]
struct Item {
    artefact: String,
    result: &'static str,
    /// Of what is held now.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Of what is held now.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The status that a client would be answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Answers once everything is held or has failed.
pub(super) async fn prewarm(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Response {
    let asked: Asked = match read(body) {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    let mut wanted = Vec::new();
    for name in &asked.artefacts {
        match requests(name) {
            Ok(requests) => wanted.extend(requests),
            Err(reason) => return problem(StatusCode::BAD_REQUEST, &format!("{name:?}: {reason}")),
        }
    }
    if wanted.len() > ARTEFACTS_MAX {
        return problem(StatusCode::BAD_REQUEST, &format!("at most {ARTEFACTS_MAX} artefacts at a time"));
    }
    let items: Vec<Item> =
        stream::iter(wanted).map(|request| item(Arc::clone(&app), request)).buffered(AT_ONCE).collect().await;
    let count = |result| items.iter().filter(|item| item.result == result).count();
    let (held, filled, failed) = (count("held"), count("filled"), count("failed"));
    tracing::info!(held, filled, failed, "pre-warmed");
    answer(StatusCode::OK, &Summary { held, filled, failed, artefacts: items })
}

async fn item(app: Arc<App>, request: Request) -> Item {
    let artefact = request.to_path();
    let item = match warm(&app, &request).await {
        Ok(warmed) => Item {
            artefact,
            result: if warmed.was_held { "held" } else { "filled" },
            sha256: warmed.body.map(|(digest, _)| digest.hex()),
            bytes: warmed.body.map(|(_, len)| len),
            status: None,
            error: None,
        },
        Err(error) => {
            let message = error.message.clone();
            let status = EdgeError::from(error).answer().status.as_u16();
            Item { artefact, result: "failed", sha256: None, bytes: None, status: Some(status), error: Some(message) }
        }
    };
    app.metrics.prewarm_artefacts.with_label_values(&[item.result]).inc();
    item
}

/// What a name stands for.
fn requests(name: &str) -> Result<Vec<Request>, String> {
    if name.contains("/@") || name.starts_with("sumdb/") {
        return Request::parse(name).map(|request| vec![request]).map_err(|error| error.to_string());
    }
    let (module, version) = name.split_once('@').ok_or("neither a path nor module@version")?;
    let module = ModulePath::new(module).map_err(|error| error.to_string())?;
    if version == "latest" {
        return Ok(vec![Request::Module(ModuleRequest { module, artefact: Artefact::Latest })]);
    }
    let version = Version::new(&module, version).map_err(|error| error.to_string())?;
    let each = [Artefact::Info, Artefact::Mod, Artefact::Zip]
        .map(|artefact| Request::Module(ModuleRequest { module: module.clone(), artefact: artefact(version.clone()) }));
    Ok(each.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_or_modules() {
        let paths =
            |name: &str| requests(name).map(|found| found.iter().map(Request::to_path).collect::<Vec<_>>().join(" "));
        assert_eq!(paths("example.com/a/@v/list").unwrap(), "example.com/a/@v/list");
        assert_eq!(
            paths("example.com/A@v1.0.0").unwrap(),
            "example.com/!a/@v/v1.0.0.info example.com/!a/@v/v1.0.0.mod example.com/!a/@v/v1.0.0.zip"
        );
        assert_eq!(paths("example.com/a@latest").unwrap(), "example.com/a/@latest");
        for wrong in ["example.com/a", "example.com/a@main", "nodot@v1.0.0", "example.com/../a/@v/list", ""] {
            assert!(paths(wrong).is_err(), "{wrong}");
        }
    }
}
