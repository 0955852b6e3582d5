//! The catalog in pages, search, and the index of versions as they came.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use shared::access::Grant;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::module::authorize;
use super::pages;
use super::parameters::{Parameters, bad, place_of, token};
use crate::app::App;
use crate::envelope::Route;
use crate::error::Failure;
use crate::finding::{self, Scope};
use crate::store::Listed;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;
/// The list of modules and versions ends its page early where modules have very many versions.
const CATALOG_LINES: usize = 10_000;
/// As the public index.
const INDEX_MAX: usize = 2000;

type Given = Query<HashMap<String, String>>;

/// `GET /api/v1/catalog?prefix=&page_token=&page_size=&repo=`
pub(crate) async fn catalog(
    State(app): State<Arc<App>>,
    Query(given): Given,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    authorize(&app, &headers, Grant::Read, place_of(&given))?;
    let parameters = Parameters::read(given, &["prefix", "page_token", "page_size", "repo"])?;
    let scope = Scope::of(&app, parameters.text("repo"))?;
    let size = parameters.number("page_size", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    let prefix = parameters.text("prefix").unwrap_or_default();
    let page = finding::page(&app.store, &scope, prefix, &parameters.after("page_token")?, size).await?;
    Ok(Json(json!({ "modules": page.modules, "next_page_token": page.next.as_deref().map(token) })))
}

/// `GET /api/v1/search?q=&page_token=&page_size=&repo=`
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    Query(given): Given,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    authorize(&app, &headers, Grant::Read, place_of(&given))?;
    let parameters = Parameters::read(given, &["q", "page_token", "page_size", "repo"])?;
    let scope = Scope::of(&app, parameters.text("repo"))?;
    let size = parameters.number("page_size", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    let asked = parameters.text("q").ok_or_else(|| bad("q", "what to look for is missing"))?;
    let words: Vec<String> = asked.split_whitespace().map(str::to_lowercase).collect();
    let page = finding::search(&app.store, &scope, &words, &parameters.after("page_token")?, size).await?;
    let mut results = Vec::with_capacity(page.modules.len());
    for module in page.modules {
        let properties = properties_of(&app, &scope, &module).await?;
        results.push(json!({ "module": module, "properties": properties }));
    }
    Ok(Json(json!({ "results": results, "next_page_token": page.next.as_deref().map(token) })))
}

/// The properties of a module itself, those of the first repository counting.
pub(super) async fn properties_of(
    app: &App,
    scope: &Scope,
    module: &str,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut all = BTreeMap::new();
    for leaf in scope.of_module(module) {
        for (name, values) in app.store.properties(leaf, module, "").await?.values {
            all.entry(name).or_insert(values);
        }
    }
    Ok(all)
}

/// `GET /catalog`: a page for people, and for programs the catalog in the form that Athens gave it,
/// `?token=&pagesize=` → `{"modules":[{"module","version"}],"next"}`.
pub(crate) async fn public(
    State(app): State<Arc<App>>,
    Query(given): Given,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    authorize(&app, &headers, Grant::Read, place_of(&given))?;
    let parameters = Parameters::read(given, &["token", "pagesize", "prefix", "q", "repo"])?;
    let scope = Scope::of(&app, parameters.text("repo"))?;
    let size = parameters.number("pagesize", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    let prefix = parameters.text("prefix").unwrap_or_default();
    let after = parameters.after("token")?;
    let wants_page =
        headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if wants_page {
        let words: Vec<String> =
            parameters.text("q").unwrap_or_default().split_whitespace().map(str::to_lowercase).collect();
        let page = if words.is_empty() {
            finding::page(&app.store, &scope, prefix, &after, size).await?
        } else {
            finding::search(&app.store, &scope, &words, &after, size).await?
        };
        return Ok(pages::catalog(&page, prefix, parameters.text("q").unwrap_or_default()));
    }
    let page = finding::page(&app.store, &scope, prefix, &after, size).await?;
    let (mut modules, mut next) = (Vec::new(), page.next.as_deref());
    for module in &page.modules {
        let found = finding::versions(&app.store, &scope, module).await?;
        let there = found.into_iter().filter(|version| !version.removed);
        modules.extend(there.map(|version| json!({ "module": module, "version": version.version })));
        if modules.len() >= CATALOG_LINES {
            next = Some(module);
            break;
        }
    }
    Ok(Json(json!({ "modules": modules, "next": next.map(token).unwrap_or_default() })).into_response())
}

/// `GET /index?since=&limit=&repo=`: versions as they came, one JSON object a line, as the public index.
pub(crate) async fn index(
    State(app): State<Arc<App>>,
    Query(given): Given,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    authorize(&app, &headers, Grant::Read, place_of(&given))?;
    let parameters = Parameters::read(given, &["since", "limit", "repo"])?;
    let scope = Scope::of(&app, parameters.text("repo"))?;
    let limit = parameters.number("limit", INDEX_MAX, 1..=INDEX_MAX)?;
    let since_ms = match parameters.text("since") {
        None => 0,
        Some(text) => {
            let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| bad("since", "not a time of RFC 3339"))?;
            // Rounded down: who asks from a line's own time gets that line again, and misses none.
            u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
        }
    };
    let mut lines: Vec<Listed> = Vec::new();
    for leaf in &scope.leaves {
        let listed = app.store.listed_since(leaf, since_ms, limit).await?;
        lines.extend(listed.into_iter().filter(|line| scope.of_module(&line.module).any(|name| name == leaf)));
    }
    lines.sort();
    let mut seen = BTreeSet::new();
    lines.retain(|line| seen.insert((line.module.clone(), line.version.clone())));
    lines.truncate(limit);
    let mut body = String::new();
    for line in lines {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(line.at_ms) * 1_000_000);
        let time = time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
        let line = json!({ "Path": line.module, "Version": line.version, "Timestamp": time });
        // Writing to a string cannot fail.
        let _ = writeln!(body, "{line}");
    }
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Route("index"));
    Ok(response)
}
