//! Tokens that are issued and revoked while the center runs, and tokens of single repositories.

use axum::body::Body;
use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Center};

async fn send(center: &Center, method: Method, path: &str, token: &str, body: &Value) -> Answer {
    let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, token);
    center.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn issue(center: &Center, body: Value) -> Answer {
    send(center, Method::POST, "/api/v1/tokens", &center.admin, &body).await
}

/// Issues a token; what to send as `Authorization`.
async fn issued(center: &Center, body: Value) -> String {
    let reply = issue(center, body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    let answer: Value = serde_json::from_str(reply.text()).unwrap();
    let token = answer["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("modtier_"), "{token}");
    format!("Bearer {token}")
}

async fn publish(center: &Center, repository: &str, token: &str) -> StatusCode {
    let path = format!("/api/go/{repository}/corp.example/a/@v/v1.0.0.zip");
    send(center, Method::PUT, &path, token, &json!("no zip")).await.status
}

#[tokio::test]
async fn a_token_is_issued_shown_once_and_revoked() {
    let center = Center::with(|config| config.access.anonymous.clear()).await;
    let token = issued(&center, json!({ "name": "late", "grants": ["read"] })).await;
    let path = "/api/v1/catalog";
    assert_eq!(center.get_with(path, &[("authorization", &token)]).await.status, StatusCode::OK);
    let listed = center.get_with("/api/v1/tokens", &[("authorization", &center.admin)]).await;
    let listed = listed.text();
    assert!(listed.contains(r#"{"from":"issued","grants":["read"],"name":"late"}"#), "{listed}");
    assert!(!listed.contains("sha256") && !listed.contains("modtier_"), "{listed}");
    // Other settings change nothing about it.
    let center = center.again(|config| config.limits.upload_size_max = shared::config::ByteSize::mib(1)).await;
    assert_eq!(center.get_with(path, &[("authorization", &token)]).await.status, StatusCode::OK);

    let revoke = |name: &'static str| send(&center, Method::DELETE, name, &center.admin, &Value::Null);
    assert_eq!(revoke("/api/v1/tokens/late").await.status, StatusCode::NO_CONTENT);
    assert_eq!(center.get_with(path, &[("authorization", &token)]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(revoke("/api/v1/tokens/late").await.status, StatusCode::NOT_FOUND);
    let filed = revoke("/api/v1/tokens/reader").await;
    assert_eq!(filed.status, StatusCode::CONFLICT);
    assert!(filed.text().contains("tokens_file"), "{}", filed.text());
    let audit = center.get_with("/api/v1/audit", &[("authorization", &center.admin)]).await;
    let audit = audit.text();
    assert!(audit.contains("issue token") && audit.contains("revoke token") && audit.contains("late"), "{audit}");
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let center = Center::new().await;
    for (body, status) in [
        (json!({ "name": "a b", "grants": ["read"] }), StatusCode::BAD_REQUEST),
        (json!({ "name": "a", "grants": [] }), StatusCode::BAD_REQUEST),
        (json!({ "name": "a", "grants": ["everything"] }), StatusCode::BAD_REQUEST),
        (json!({ "name": "a", "grants": ["read"], "repositories": ["a/b"] }), StatusCode::BAD_REQUEST),
        (json!({ "name": "a", "grants": ["read"], "until": "tomorrow" }), StatusCode::BAD_REQUEST),
        (json!({ "name": "ci", "grants": ["read"] }), StatusCode::CONFLICT),
    ] {
        let reply = issue(&center, body.clone()).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
    }
    assert_eq!(issue(&center, json!({ "name": "a", "grants": ["read"] })).await.status, StatusCode::CREATED);
    assert_eq!(issue(&center, json!({ "name": "a", "grants": ["write"] })).await.status, StatusCode::CONFLICT);
    let by = |token: String| {
        let center = &center;
        async move { send(center, Method::POST, "/api/v1/tokens", &token, &json!({})).await.status }
    };
    assert_eq!(by(center.reader.clone()).await, StatusCode::FORBIDDEN);
    assert_eq!(by("Bearer nobody".to_owned()).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_of_one_repository_does_nothing_in_another() {
    let center = Center::with(|config| {
        config.access.anonymous.clear();
        config.repositories.get_mut("golang-local").unwrap().owns = vec!["corp.example".to_owned()];
    })
    .await;
    let grants = json!(["read", "write", "admin"]);
    let token = issued(&center, json!({ "name": "team", "grants": grants, "repositories": ["golang-l*"] })).await;
    // A body that is no zip is looked at only where the token may publish.
    assert_eq!(publish(&center, "golang-local", &token).await, StatusCode::BAD_REQUEST);
    assert_eq!(publish(&center, "golang-virtual", &token).await, StatusCode::FORBIDDEN);
    for (path, status) in [
        ("/api/v1/catalog?repo=golang-local", StatusCode::OK),
        ("/api/v1/catalog?repo=golang-remote", StatusCode::FORBIDDEN),
        ("/api/v1/catalog", StatusCode::FORBIDDEN),
        ("/index?repo=golang-local", StatusCode::OK),
        ("/index", StatusCode::FORBIDDEN),
        ("/api/v1/repos/golang-local/manifest", StatusCode::OK),
        ("/api/v1/repos/golang-virtual/manifest", StatusCode::FORBIDDEN),
        ("/api/v1/repos/golang-virtual/changes", StatusCode::FORBIDDEN),
        ("/api/go/golang-local/corp.example/a/@v/list", StatusCode::NOT_FOUND),
        ("/api/go/golang-virtual/corp.example/a/@v/list", StatusCode::FORBIDDEN),
        ("/api/v1/tokens", StatusCode::FORBIDDEN),
        ("/api/v1/audit", StatusCode::FORBIDDEN),
        ("/api/v1/stats", StatusCode::FORBIDDEN),
    ] {
        let reply = center.get_with(path, &[("authorization", &token)]).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    let more = json!({ "name": "more", "grants": ["admin"] });
    let reply = send(&center, Method::POST, "/api/v1/tokens", &token, &more).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "it would allow itself everything");
}

#[tokio::test]
async fn a_token_of_one_repository_takes_no_path_for_the_whole_center() {
    let center = Center::with(|config| {
        config.repositories.get_mut("golang-local").unwrap().owns = vec!["corp.example/owned".to_owned()];
    })
    .await;
    let limited =
        issued(&center, json!({ "name": "team", "grants": ["write"], "repositories": ["golang-local"] })).await;
    let put = async |module: &str, version: &str, token: &str| {
        let path = format!("/api/go/golang-local/{module}/@v/{version}.zip");
        let zip = super::module_zip(module, version, b"package a\n");
        let request = Request::builder().method(Method::PUT).uri(path).header(AUTHORIZATION, token);
        center.send(request.body(Body::from(zip)).unwrap()).await
    };
    // What everybody has from somewhere else stays there.
    let refused = put("example.com/everybodys", "v1.9.9", &limited).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    assert!(refused.text().contains("belongs to nobody yet"), "{}", refused.text());
    let info = "/api/go/golang-local/example.com/everybodys/@v/v1.9.9.info";
    let request = Request::builder().method(Method::PUT).uri(info).header(AUTHORIZATION, &limited);
    let answer = center.send(request.body(Body::from(r#"{"Version":"v1.9.9"}"#)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    let list = center.get("/api/go/golang-virtual/example.com/everybodys/@v/list").await;
    assert!(list.status.is_server_error(), "the upstream (there is none here) is still who answers: {}", list.text());
    // What the repository owns by its settings; and what somebody took for it who may.
    assert_eq!(put("corp.example/owned/a", "v1.0.0", &limited).await.status, StatusCode::CREATED);
    assert_eq!(put("example.com/taken", "v1.0.0", &center.token).await.status, StatusCode::CREATED);
    assert_eq!(put("example.com/taken", "v1.1.0", &limited).await.status, StatusCode::CREATED);
    assert_eq!(put("example.com/taken/below", "v1.0.0", &limited).await.status, StatusCode::CREATED);
    // Or what the operator has named for it otherwise.
    let center = center.again(|config| {
        let local = config.repositories.get_mut("golang-local").unwrap();
        local.include = shared::module::Patterns::new(["team.example".to_owned()]).unwrap();
    });
    let center = center.await;
    let path = "/api/go/golang-virtual/team.example/a/@v/v1.0.0.zip";
    let virtually =
        issued(&center, json!({ "name": "v", "grants": ["write"], "repositories": ["golang-virtual"] })).await;
    let request = Request::builder().method(Method::PUT).uri(path).header(AUTHORIZATION, virtually);
    let zip = super::module_zip("team.example/a", "v1.0.0", b"package a\n");
    let answer = center.send(request.body(Body::from(zip)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
}
