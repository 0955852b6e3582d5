//! Pages for people: no scripts, no styles, everything that somebody else wrote escaped.

use std::fmt::Write as _;

use axum::response::{Html, IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, X_FRAME_OPTIONS};

use super::parameters::token;
use crate::finding::Page;

/// The catalog: a field to search, a page of modules, the way to the next.
pub(super) fn catalog(page: &Page, prefix: &str, asked: &str) -> Response {
    let mut body = format!(
        "<form action=\"/catalog\"><input name=\"q\" value=\"{}\" aria-label=\"Search\"> <button>Search</button></form>\n<ul>\n",
        escape(asked)
    );
    for module in &page.modules {
        // Writing to a string cannot fail.
        let _ = writeln!(
            body,
            "<li><a href=\"/api/v1/modules/{}/versions\">{}</a></li>",
            escape(&shared::module::escape_path(module).unwrap_or_default()),
            escape(module)
        );
    }
    body.push_str("</ul>\n");
    if page.modules.is_empty() {
        body.push_str("<p>Nothing is found here.</p>\n");
    }
    if let Some(next) = &page.next {
        let (prefix, asked) = (in_query(prefix), in_query(asked));
        let _ = writeln!(
            body,
            "<p><a href=\"/catalog?prefix={prefix}&amp;q={asked}&amp;token={}\">Next page</a></p>",
            token(next)
        );
    }
    html("Modules", &body)
}

/// A whole page.
pub(super) fn html(title: &str, body: &str) -> Response {
    let title = escape(title);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n{body}</html>\n"
    );
    ([(X_FRAME_OPTIONS, "DENY"), (CONTENT_SECURITY_POLICY, "default-src 'self'")], Html(page)).into_response()
}

/// Text as it may stand in a page, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn in_query(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
