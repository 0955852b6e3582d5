//! `/api/v1/modules/<module>/…`: versions, dependents, and properties that people set.
//!
//! `versions`, `dependents`, `properties` (of the module), `versions/<version>/properties`. The module is written as on the
//! wire of the GOPROXY protocol (`!b` for `B`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, Request, State};
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use shared::access::Grant;
use shared::module::{ModulePath, Version, unescape_version};
use shared::request::decode_path;

use super::catalog::properties_of;
use super::matrix::{self, Values};
use super::module::authorize;
use super::parameters::{Parameters, bad, place_of};
use super::upload::{Declared, receive_small};
use crate::app::App;
use crate::error::Failure;
use crate::finding::{self, Scope};
use crate::repository::RepoError;
use crate::store::Properties;

/// Largest document of properties, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

/// What of a module is asked.
enum Subject {
    Versions(ModulePath),
    Dependents(ModulePath),
    /// Of a version, or of the module.
    Properties(ModulePath, Option<Version>),
}

impl Subject {
    fn of(uri: &Uri) -> Result<Self, Failure> {
        let raw = uri.path().strip_prefix("/api/v1/modules/").ok_or(Failure::NoRoute)?;
        let path = decode_path(raw)?;
        let (rest, last) = path.rsplit_once('/').ok_or(Failure::NoRoute)?;
        let module =
            |escaped: &str| ModulePath::unescape(escaped).map_err(|error| Failure::BadRequest(error.to_string()));
        match last {
            "versions" => Ok(Self::Versions(module(rest)?)),
            "dependents" => Ok(Self::Dependents(module(rest)?)),
            "properties" => {
                let of_version = rest.rsplit_once('/').and_then(|(above, version)| {
                    Some((above.strip_suffix("/versions")?, unescape_version(version).ok()?))
                });
                let Some((above, version)) = of_version else { return Ok(Self::Properties(module(rest)?, None)) };
                let module = module(above)?;
                let version = Version::new(&module, &version).map_err(|e| Failure::BadRequest(e.to_string()))?;
                Ok(Self::Properties(module, Some(version)))
            }
            _ => Err(Failure::NoRoute),
        }
    }
}

/// GET.
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    Query(given): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    authorize(&app, &headers, Grant::Read, place_of(&given))?;
    let parameters = Parameters::read(given, &["repo"])?;
    let scope = Scope::of(&app, parameters.text("repo"))?;
    match Subject::of(&uri)? {
        Subject::Versions(module) => {
            let versions = finding::versions(&app.store, &scope, module.as_str()).await?;
            if versions.is_empty() {
                return Err(RepoError::NotFound(format!("nothing of {module} is held here")).into());
            }
            let properties = properties_of(&app, &scope, module.as_str()).await?;
            Ok(Json(json!({ "module": module.as_str(), "properties": properties, "versions": versions })))
        }
        Subject::Dependents(module) => {
            let dependents = dependents(&app, &scope, module.as_str()).await?;
            Ok(Json(json!({ "module": module.as_str(), "dependents": dependents })))
        }
        Subject::Properties(module, version) => {
            let (leaf, version) = holder(&app, &scope, &module, version.as_ref()).await?;
            let kept = app.store.properties(&leaf, module.as_str(), version).await?;
            Ok(Json(document(&leaf, &kept)))
        }
    }
}

/// Who requires the module, as far as it is seen from here.
async fn dependents(app: &App, scope: &Scope, module: &str) -> Result<Vec<Value>, Failure> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (leaf, dependent, version) in app.store.dependents(module).await? {
        let is_seen_from_here = scope.of_module(&dependent).any(|name| name == leaf);
        if !is_seen_from_here || !seen.insert(dependent.clone()) {
            continue;
        }
        let record = app.store.version(&leaf, &dependent, &version).await?;
        if record.is_some_and(|record| record.is_visible()) {
            found.push(json!({ "module": dependent, "version": version, "origin": leaf }));
        }
    }
    Ok(found)
}

/// The repository that keeps the properties: the first one that holds the version, or any of the module.
async fn holder<'a>(
    app: &App,
    scope: &Scope,
    module: &ModulePath,
    version: Option<&'a Version>,
) -> Result<(String, &'a str), Failure> {
    let version = version.map_or("", Version::as_str);
    for leaf in scope.of_module(module.as_str()) {
        let held = if version.is_empty() {
            !app.store.versions(leaf, module.as_str()).await?.is_empty()
        } else {
            app.store.version(leaf, module.as_str(), version).await?.is_some_and(|record| record.is_visible())
        };
        if held {
            return Ok((leaf.to_owned(), version));
        }
    }
    Err(RepoError::NotFound(format!("{module} {version} is not held here")).into())
}

/// PUT of all properties, or PATCH of some (RFC 7396: null removes one).
pub(crate) async fn write(
    State(app): State<Arc<App>>,
    Query(given): Query<HashMap<String, String>>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let identity = authorize(&app, request.headers(), Grant::Annotate, place_of(&given))?;
    let parameters = Parameters::read(given, &["repo"])?;
    let scope = Scope::of(&app, parameters.text("repo"))?;
    let Subject::Properties(module, version) = Subject::of(request.uri())? else {
        return Err(Failure::Method("GET, HEAD"));
    };
    let replaces = request.method() == Method::PUT;
    let (leaf, version) = holder(&app, &scope, &module, version.as_ref()).await?;
    let (body, _) = receive_small(&app, request.into_body(), &Declared::default(), DOCUMENT_BYTES_MAX).await?;
    let (values, removed) = read_document(&body, replaces)?;
    let change = |now: &mut Properties| {
        if replaces {
            now.values.clear();
        }
        now.values.retain(|name, _| !removed.contains(name));
        matrix::merge(&values, now);
    };
    let kept = app.store.change_properties(&leaf, module.as_str(), version, change).await?;
    app.note(&identity, "annotate", (&leaf, module.as_str(), version)).await;
    tracing::info!(by = identity, %module, version, "properties changed");
    Ok(Json(document(&leaf, &kept)))
}

fn document(leaf: &str, kept: &Properties) -> Value {
    let info = kept.info.as_deref().and_then(|info| serde_json::from_str::<Value>(info).ok());
    json!({ "repository": leaf, "properties": kept.values, "info": info })
}

/// The values to set and the names to remove. A value is a text or a list of them.
fn read_document(body: &[u8], replaces: bool) -> Result<(Values, BTreeSet<String>), Failure> {
    let wrong = |why: &str| bad("body", why);
    let document: BTreeMap<String, Value> =
        serde_json::from_slice(body).map_err(|error| wrong(&format!("not a JSON object: {error}")))?;
    let (mut values, mut removed) = (Values::new(), BTreeSet::new());
    for (name, value) in document {
        let list = match value {
            Value::Null if !replaces => {
                removed.insert(name);
                continue;
            }
            Value::String(text) => vec![text],
            Value::Array(list) => {
                let texts = list.into_iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>();
                texts.ok_or_else(|| wrong(&format!("{name:?}: a list of texts is needed")))?
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(wrong(&format!("{name:?}: a text or a list of texts is needed")));
            }
        };
        values.insert(name, list);
    }
    matrix::check(&values)?;
    Ok((values, removed))
}
