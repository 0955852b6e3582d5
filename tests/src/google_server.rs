//! An imitation of the part of Google Cloud Storage's XML API that the center uses, in memory. Nothing of Google's own can be had, and
//! the imitations that can be had speak its JSON API only.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

/// A running imitation with one bucket, `modtier`.
#[derive(Debug)]
pub struct GoogleServer {
    base: String,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Bytes>,
    /// By upload id, the parts by number.
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
}

type Shared = Arc<Mutex<Bucket>>;

impl GoogleServer {
    /// Starts one.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let base = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Shared::default());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base }
    }

    /// `storage.blobs.url`.
    pub fn url(&self) -> &'static str {
        "gs://modtier/blobs"
    }

    /// `storage.blobs.options`.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let account = serde_json::json!({
            "gcs_base_url": self.base, "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": "",
        });
        vec![("service_account_key", account.to_string()), ("allow_http", "true".to_owned())]
    }
}

async fn answer(
    State(bucket): State<Shared>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().trim_start_matches('/').replace("%2F", "/").replace("%2E", ".");
    let Some(key) = path.strip_prefix("modtier").map(|key| key.trim_start_matches('/').to_owned()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut bucket = bucket.lock().expect("no holder panicked");
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match method {
        Method::PUT if query.contains_key("uploadId") => {
            let number = query.get("partNumber").and_then(|number| number.parse().ok());
            let (Some(upload), Some(number)) = (bucket.uploads.get_mut(&query["uploadId"]), number) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            let tag = etag(&body);
            upload.insert(number, body);
            [("etag", tag)].into_response()
        }
        Method::PUT => {
            let from = header("x-goog-copy-source").map(|from| from.replace("%2F", "/").replace("%2E", "."));
            let source = from.as_deref().map(|from| from.trim_start_matches('/').trim_start_matches("modtier/"));
            let copied = source.map(|source| bucket.objects.get(source).cloned());
            let Some(body) = copied.unwrap_or(Some(body)) else { return StatusCode::NOT_FOUND.into_response() };
            let tag = etag(&body);
            bucket.objects.insert(key, body);
            [("etag", tag), ("x-goog-generation", "1".to_owned())].into_response()
        }
        Method::POST if query.contains_key("uploads") => {
            let id = format!("upload{}", bucket.uploads.len());
            bucket.uploads.insert(id.clone(), BTreeMap::new());
            xml("InitiateMultipartUploadResult", &format!("<UploadId>{id}</UploadId>"))
        }
        Method::POST => {
            let Some(parts) = query.get("uploadId").and_then(|id| bucket.uploads.remove(id)) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            let whole: Bytes = parts.into_values().flatten().collect();
            let tag = etag(&whole);
            bucket.objects.insert(key, whole);
            xml("CompleteMultipartUploadResult", &format!("<ETag>{tag}</ETag>"))
        }
        Method::DELETE if bucket.objects.remove(&key).is_some() => StatusCode::NO_CONTENT.into_response(),
        Method::GET if key.is_empty() => list(&bucket, query.get("prefix").map_or("", String::as_str)),
        Method::GET | Method::HEAD => match bucket.objects.get(&key) {
            Some(body) => object(&method, body, header("range")),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn object(method: &Method, body: &Bytes, range: Option<&str>) -> Response {
    let facts = [("etag", etag(body)), ("last-modified", "Tue, 05 Mar 2024 10:00:00 GMT".to_owned())];
    if *method == Method::HEAD {
        return (facts, [("content-length", body.len().to_string())]).into_response();
    }
    let bounds = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<usize>().ok()?)))
    else {
        return (facts, body.clone()).into_response();
    };
    if first >= body.len() {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let last = last.min(body.len() - 1);
    let named = [("content-range", format!("bytes {first}-{last}/{}", body.len()))];
    (StatusCode::PARTIAL_CONTENT, facts, named, body.slice(first..=last)).into_response()
}

fn list(bucket: &Bucket, prefix: &str) -> Response {
    let entry = |(key, body): (&String, &Bytes)| {
        let (size, tag) = (body.len(), etag(body));
        format!(
            "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{tag}</ETag>\
             <LastModified>2024-03-05T10:00:00.000Z</LastModified></Contents>"
        )
    };
    let found = bucket.objects.iter().filter(|(key, _)| key.starts_with(prefix));
    let contents = found.map(entry).collect::<Vec<_>>().concat();
    xml("ListBucketResult", &contents)
}

fn xml(name: &str, content: &str) -> Response {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{name}>{content}</{name}>");
    ([("content-type", "application/xml")], body).into_response()
}

fn etag(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(body)[..16]))
}
