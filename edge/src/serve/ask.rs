//! What a client asks, read once from the request's header. Everything later uses these values and nothing else of it.

use http::{HeaderName, Method, Version, header};
use pingora_core::protocols::http::ServerSession;
use shared::request::{Request, decode_path};

use crate::config::RESERVED;
use crate::error::EdgeError;
use crate::limit::ClientNet;
use crate::respond::Conditions;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const DISABLE_MODULE_FETCH: HeaderName = HeaderName::from_static("disable-module-fetch");

/// A client's request.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The client's `X-Request-Id`, or one made here.
    pub(crate) request_id: String,
    /// The method; only GET and HEAD are answered.
    pub(crate) method: Method,
    /// The path as it came, without query. For parsing and the log.
    pub(crate) path: String,
    /// Whether the client cannot read chunks, so that a body's length must be known first.
    pub(crate) needs_length: bool,
    /// `Disable-Module-Fetch: true`: only from what is held.
    pub(crate) held_only: bool,
    /// The label, which chooses among centers and is in no key.
    pub(crate) label: Option<String>,
    /// The tiers that the request came through.
    pub(crate) via: Option<String>,
    /// Who asks, by the connection's address.
    pub(crate) client: ClientNet,
    /// Conditions and range.
    pub(crate) conditions: Conditions,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Target {
    /// The page at `/`.
    Front,
    /// `/healthz`.
    Health,
    /// `/readyz`.
    Ready,
    /// `/version`.
    Version,
    /// An artefact, or a part of a checksum database.
    Artefact(Request),
}

impl Ask {
    /// Reads the header. `label_header` is the one with the label, if a label makes a difference.
    pub(crate) fn read(session: &ServerSession, label_header: Option<&str>) -> Self {
        let request = session.req_header();
        let text = |name: &HeaderName| text(session, name);
        let list = |name: &HeaderName| list(session, name);
        let label = label_header.and_then(|name| request.headers.get(name)?.to_str().ok().map(ToOwned::to_owned));
        let raw = String::from_utf8_lossy(request.raw_path());
        let path = raw.split('?').next().unwrap_or_default();
        Self {
            request_id: text(&REQUEST_ID).filter(|id| is_plain(id)).unwrap_or_else(fresh_id),
            method: request.method.clone(),
            path: path.to_owned(),
            needs_length: request.version < Version::HTTP_11,
            held_only: text(&DISABLE_MODULE_FETCH).is_some_and(|v| v.eq_ignore_ascii_case("true")),
            label: label.filter(|label| is_plain(label)),
            via: list(&header::VIA),
            client: ClientNet::of(session.client_addr().and_then(|address| address.as_inet().copied())),
            conditions: Conditions {
                if_match: list(&header::IF_MATCH),
                if_none_match: list(&header::IF_NONE_MATCH),
                if_modified_since: text(&header::IF_MODIFIED_SINCE),
                // RFC 9110, 14.2: a range is defined for GET alone.
                range: if request.method == Method::GET { text(&header::RANGE) } else { None },
                if_range: text(&header::IF_RANGE),
            },
        }
    }

    /// A request of this edge itself: nobody waits for an answer.
    pub(super) fn of_our_own(path: &str) -> Self {
        Self {
            request_id: fresh_id(),
            method: Method::GET,
            path: path.to_owned(),
            needs_length: false,
            held_only: false,
            label: None,
            via: None,
            client: ClientNet::of(None),
            conditions: Conditions::default(),
        }
    }

    /// Whether only the header is asked for.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// What it asks for, if this edge, known as `edge_id`, answers such requests for `tenant`.
    pub(crate) fn target(&self, edge_id: &str, tenant: &str) -> Result<Target, EdgeError> {
        if !matches!(self.method, Method::GET | Method::HEAD) {
            return Err(EdgeError::Method);
        }
        if self.came_through(edge_id) {
            return Err(EdgeError::Loop);
        }
        let Some(path) = self.path.strip_prefix('/') else {
            return Err(EdgeError::BadPath("the path does not begin with a slash".into()));
        };
        match path {
            "" => return Ok(Target::Front),
            "healthz" => return Ok(Target::Health),
            "readyz" => return Ok(Target::Ready),
            "version" => return Ok(Target::Version),
            _ => {}
        }
        let path = below_tenant(path, tenant)?;
        Ok(Target::Artefact(Request::parse(path)?))
    }

    fn came_through(&self, edge_id: &str) -> bool {
        // `Via: 1.1 name, 1.1 other (comment)`: the second word of each element is the name.
        self.via.as_deref().is_some_and(|via| via.split(',').any(|hop| hop.split_whitespace().nth(1) == Some(edge_id)))
    }
}

/// Takes the tenant's name off the path. A module path's first element has a dot, a tenant's name has none.
fn below_tenant<'a>(path: &'a str, tenant: &str) -> Result<&'a str, EdgeError> {
    // The whole path is checked first: a malformed one is 400 whoever it is for.
    let decoded = decode_path(path)?;
    let first = decoded.split('/').next().unwrap_or_default();
    if first.contains('.') || first == "sumdb" {
        return Ok(path);
    }
    if RESERVED.contains(&first) {
        return Err(EdgeError::NotFound(format!("no page {first:?} here")));
    }
    // The name itself is never percent-encoded by a `go` command, so the raw path begins with it.
    match path.strip_prefix(tenant).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => Ok(rest),
        // What follows another tenant's name is a request: refused, whether that tenant exists or not. 404 would send `go`
        // to its next proxy, private names with it.
        None if path.split_once('/').is_some_and(|(_, rest)| Request::parse(rest).is_ok()) => {
            Err(EdgeError::Blocked(format!("no tenant {first:?} for you here")))
        }
        // Otherwise it is a malformed module path, and the parser says why.
        None => Ok(path),
    }
}

/// `Host`, only to show it on the front page.
pub(super) fn host(session: &ServerSession) -> Option<String> {
    text(session, &header::HOST)
}

fn text(session: &ServerSession, name: &HeaderName) -> Option<String> {
    session.req_header().headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}

/// A header that is a list: several lines of it are one (RFC 9110 section 5.3).
fn list(session: &ServerSession, name: &HeaderName) -> Option<String> {
    let mut lines = session.req_header().headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = lines.next()?.to_owned();
    Some(lines.fold(first, |list, line| list + ", " + line))
}

fn is_plain(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=64).contains(&id.len()) && id.bytes().all(plain)
}

fn fresh_id() -> String {
    hex::encode(rand::random::<[u8; 8]>())
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_no_dot() {
        assert_eq!(below_tenant("example.com/a/@v/list", "default").unwrap(), "example.com/a/@v/list");
        assert_eq!(below_tenant("default/example.com/a/@v/list", "default").unwrap(), "example.com/a/@v/list");
        assert_eq!(below_tenant("sumdb/x/supported", "default").unwrap(), "sumdb/x/supported");
    }

    #[test]
    fn other_tenants_are_refused_and_reserved_names_not_found() {
        for path in ["api/v1/repos", "metrics"] {
            assert!(matches!(below_tenant(path, "default"), Err(EdgeError::NotFound(_))), "{path}");
        }
        for path in ["other/example.com/a/@v/list", "defaultx/example.com/a/@v/list"] {
            assert!(matches!(below_tenant(path, "default"), Err(EdgeError::Blocked(_))), "{path}");
        }
        // No tenant's, but a module path that has no dot: the parser refuses it with its reason.
        assert_eq!(below_tenant("nodot/@v/list", "default").unwrap(), "nodot/@v/list");
    }

    #[test]
    fn a_malformed_path_is_400_for_whomever() {
        for path in ["other/../x", "other//x", "other/%00", "other/%2e%2e/x", "example.com/a%252f"] {
            assert!(matches!(below_tenant(path, "default"), Err(EdgeError::BadPath(_))), "{path}");
        }
    }

    #[test]
    fn request_ids_that_could_forge_a_log_line_are_replaced() {
        assert!(is_plain("01J-abc_1.2"));
        assert!(!is_plain(""));
        assert!(!is_plain("a b"));
        assert!(!is_plain("a\nb"));
        assert!(!is_plain(&"a".repeat(65)));
    }
}
