//! The few pages that are no artefacts: the front page, health, readiness, version.

use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::app::App;
use crate::respond::Answer;

/// The page at `/`: how to use this edge.
pub(super) fn front(app: &App, host: Option<String>, secure: bool) -> Answer {
    // `Host` is only shown, and only when it cannot be anything but a host.
    let is_host = |host: &String| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        !host.is_empty() && host.len() <= 255 && host.bytes().all(plain)
    };
    let host = host.filter(is_host).unwrap_or_else(|| app.config().listen.clone());
    let scheme = if secure { "https" } else { "http" };
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Modtier</title></head><body>\n\
         <h1>Modtier: a Go module proxy</h1>\n\
         <p>Point the <code>go</code> command here:</p>\n\
         <pre>go env -w GOPROXY={scheme}://{host}</pre>\n\
         </body></html>\n"
    );
    let mut answer = Answer::text(StatusCode::OK, "text/html; charset=utf-8", page);
    answer.extra.push((header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")));
    answer.extra.push((header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'")));
    answer
}

/// `/healthz`: the process is alive. Depends on nothing.
pub(crate) fn health() -> Answer {
    Answer::text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into())
}

/// `/readyz`: whether requests should come here. Never depends on the center: what is held is served without it.
pub(crate) fn ready(app: &App, verbose: bool) -> Answer {
    let draining = app.is_draining();
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    if !verbose {
        let text = if draining { "draining\n" } else { "ready\n" };
        return Answer::text(status, "text/plain; charset=utf-8", text.into());
    }
    let report = json!({
        "ready": !draining,
        "draining": draining,
        "disk": app.cache.disk_trouble().unwrap_or_else(|| "ok".into()),
        "sync": app.sync.report(),
        "config": app.reloads.report(),
    });
    Answer::text(status, "application/json", format!("{report}\n"))
}

/// `/version`.
pub(crate) fn version() -> Answer {
    let text = format!("{}\n", json!({ "name": "modtier-edge", "version": env!("CARGO_PKG_VERSION") }));
    Answer::text(StatusCode::OK, "application/json", text)
}
