//! Collection and verification through the router.

use axum::body::Body;
use http::{Method, StatusCode};

use super::{Answer, Center, module_zip, noise, request};

async fn post(center: &Center, path: &str, token: &str) -> Answer {
    center.send(request(Method::POST, path, &[("authorization", token)], Body::empty())).await
}

#[tokio::test]
async fn an_administrator_collects_and_verifies_and_nobody_else() {
    let center = Center::new().await;
    for path in ["/api/v1/gc", "/api/v1/retention", "/api/v1/verify"] {
        assert_eq!(post(&center, path, &center.token).await.status, StatusCode::FORBIDDEN, "{path}");
        let read = center.get(path).await;
        assert_eq!((read.status, read.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"), "{path}");
    }
    let zip = module_zip("example.com/a", "v1.0.0", &noise(60_000));
    assert_eq!(center.put("/api/go/golang-local/example.com/a/@v/v1.0.0.zip", zip).await.status, StatusCode::CREATED);
    for wrong in ["gc?grace=1s", "gc?grace=soon", "gc?dry_run=perhaps", "gc?sure=true", "verify?heal=1"] {
        let refused = post(&center, &format!("/api/v1/{wrong}"), &center.admin).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let retained = post(&center, "/api/v1/retention?dry_run=true", &center.admin).await;
    assert_eq!(
        retained.text(),
        r#"{"bytes":0,"dry_run":true,"versions":[]}"#,
        "local versions never go without a rule"
    );
    let collected = post(&center, "/api/v1/gc?grace=5m", &center.admin).await;
    assert_eq!(collected.status, StatusCode::OK);
    let collected: serde_json::Value = serde_json::from_slice(&collected.body).unwrap();
    assert_eq!((&collected["referenced"], &collected["removed"]), (&3.into(), &0.into()), "{collected}");
    let verified = post(&center, "/api/v1/verify", &center.admin).await;
    let lines: Vec<serde_json::Value> =
        verified.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[lines.len() - 2..], [serde_json::json!({"done":3,"all":3}), serde_json::json!({"findings":[]})]);
}
