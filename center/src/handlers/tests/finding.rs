//! The catalog, search, versions, dependents, the index, properties, and what an administrator looks at.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::access::Grant;

use super::{Answer, Body, Center, Upstream, module_zip, request};

impl Center {
    async fn json(&self, path: &str) -> Value {
        let answer = self.get_with(path, &[("authorization", &self.admin)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    async fn annotate(&self, method: Method, path: &str, token: &str, document: &Value) -> Answer {
        let path = format!("/api/v1/modules/{path}");
        self.send(request(method, &path, &[("authorization", token)], Body::from(document.to_string()))).await
    }

    /// Publishes a module whose go.mod says more than its name.
    async fn publish_requiring(&self, module: &str, version: &str, requires: &str) {
        let zip = {
            use std::io::Write as _;
            let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            zip.start_file(format!("{module}@{version}/go.mod"), zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(format!("module {module}\n\nrequire {requires} v1.0.0\n").as_bytes()).unwrap();
            zip.finish().unwrap().into_inner()
        };
        let answer = self.put(&format!("/api/go/golang-local/{module}/@v/{version}.zip"), zip).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    }

    async fn until(&self, path: &str, holds: impl Fn(&Answer) -> bool) -> Answer {
        modtier_tests::until_some(path, Duration::from_secs(20), async || {
            let answer = self.get_with(path, &[("authorization", &self.admin)]).await;
            holds(&answer).then_some(answer)
        })
        .await
    }
}

fn names(page: &Value) -> Vec<&str> {
    page["modules"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_of_the_catalog_neither_repeat_nor_miss_what_was_there() {
    let center = Center::new().await;
    for module in ["a.test/a", "a.test/b", "a.test/c", "a.test/d", "b.test/x"] {
        center.publish(module, "v1.0.0").await;
        center.publish(module, "v1.1.0").await;
    }
    let first = center.json("/api/v1/catalog?prefix=a.test/&page_size=2").await;
    assert_eq!(names(&first), ["a.test/a", "a.test/b"]);
    // Before the next page one comes in front of it, one behind, and one that was shown goes.
    center.publish("a.test/aa", "v1.0.0").await;
    center.publish("a.test/cc", "v1.0.0").await;
    for version in ["v1.0.0", "v1.1.0"] {
        let path = format!("/api/go/golang-local/a.test/b/@v/{version}");
        center.send(request(Method::DELETE, &path, &[("authorization", &center.token)], Body::empty())).await;
    }
    let token = first["next_page_token"].as_str().unwrap();
    let second = center.json(&format!("/api/v1/catalog?prefix=a.test/&page_size=2&page_token={token}")).await;
    assert_eq!(names(&second), ["a.test/c", "a.test/cc"]);
    let token = second["next_page_token"].as_str().unwrap();
    let third = center.json(&format!("/api/v1/catalog?prefix=a.test/&page_size=2&page_token={token}")).await;
    assert_eq!((names(&third), &third["next_page_token"]), (vec!["a.test/d"], &Value::Null));
    let all = center.json("/api/v1/catalog?repo=golang-virtual").await;
    assert_eq!(names(&all), ["a.test/a", "a.test/aa", "a.test/c", "a.test/cc", "a.test/d", "b.test/x"]);
    assert_eq!(names(&center.json("/api/v1/catalog?repo=golang-remote").await), Vec::<&str>::new());

    for (path, status) in [
        ("/api/v1/catalog?page_size=0", StatusCode::BAD_REQUEST),
        ("/api/v1/catalog?page_token=%25", StatusCode::BAD_REQUEST),
        ("/api/v1/catalog?pagesize=1", StatusCode::BAD_REQUEST),
        ("/api/v1/catalog?repo=nobody", StatusCode::NOT_FOUND),
        ("/api/v1/search", StatusCode::BAD_REQUEST),
        ("/index?since=yesterday", StatusCode::BAD_REQUEST),
    ] {
        let answer = center.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        if path.starts_with("/api/") {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        }
    }
}

#[tokio::test]
async fn what_its_owner_keeps_from_a_member_is_not_found_there() {
    let upstream = Upstream::new().await;
    upstream.module("a.test/b", "v1.0.0", &module_zip("a.test/b", "v1.0.0", b"package b\n"));
    let center = Center::over(&upstream.url).await;
    assert_eq!(center.get("/api/go/golang-virtual/a.test/b/@v/v1.0.0.zip").await.status, StatusCode::OK);
    let remote = "/api/v1/modules/a.test/b/versions?repo=golang-remote";
    assert_eq!(center.json(remote).await["versions"][0]["origin"], "golang-remote");
    center.publish("a.test", "v1.1.0").await;
    assert_eq!(names(&center.json("/api/v1/catalog").await), ["a.test"]);
    assert_eq!(center.get(remote).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn versions_are_told_with_everything_known_of_them() {
    let center = Center::new().await;
    for version in ["v1.9.0", "v1.10.0", "v1.10.0-rc.1"] {
        center.publish("a.test/Lib", version).await;
        assert_eq!(center.get("/api/v1/modules/a.test/!lib/versions").await.status, StatusCode::NOT_FOUND);
    }
    center.publish("a.test/lib", "v1.9.0").await;
    let zip = module_zip("a.test/Lib", "v1.10.0", b"package a\n");
    for version in ["v1.9.0", "v1.10.0", "v1.10.0-rc.1"] {
        let zip = module_zip("a.test/Lib", version, b"package a\n");
        let path = format!("/api/go/golang-local/a.test/!lib/@v/{version}.zip;stage=test");
        assert_eq!(center.put(&path, zip).await.status, StatusCode::CREATED);
    }
    let path = "/api/go/golang-local/a.test/!lib/@v/v1.9.0";
    center.send(request(Method::DELETE, path, &[("authorization", &center.token)], Body::empty())).await;
    for _ in 0..3 {
        center.get("/api/go/golang-virtual/a.test/!lib/@v/v1.10.0.zip").await;
    }
    center.app.downloads.write(&center.app).await;
    let found = center.json("/api/v1/modules/a.test/!lib/versions").await;
    let versions = found["versions"].as_array().unwrap();
    let order: Vec<_> = versions.iter().map(|version| version["version"].as_str().unwrap()).collect();
    assert_eq!(order, ["v1.9.0", "v1.10.0-rc.1", "v1.10.0"]);
    let removed: Vec<_> = versions.iter().map(|version| version["removed"].as_bool().unwrap()).collect();
    assert_eq!(removed, [true, false, false]);
    let last = &versions[2];
    assert_eq!(last["size"], zip.len());
    assert_eq!(last["sha256"], shared::digest::Digest::of(&zip).hex());
    assert!(last["h1"].as_str().unwrap().starts_with("h1:"));
    assert_eq!(last["origin"], "golang-local");
    assert_eq!(last["downloads"], 3);
    assert_eq!(last["properties"], json!({ "stage": ["test"] }));
    assert!(last["time"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn properties_are_set_shown_and_searched_by_who_may() {
    let center = Center::new().await;
    center.publish("a.test/one", "v1.0.0").await;
    center.publish("a.test/two", "v1.0.0").await;
    let path = "a.test/one/properties";
    let document = json!({ "description": "Parses Zebra labels", "maintainer": ["ann", "bob"] });
    let denied = center.annotate(Method::PUT, path, &center.token, &document).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    assert_eq!(denied.header("content-type"), "application/problem+json");
    let answer = center.annotate(Method::PUT, path, &center.admin, &document).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let changes = json!({ "maintainer": null, "tier": "gold" });
    center.annotate(Method::PATCH, path, &center.admin, &changes).await;
    let now = center.json("/api/v1/modules/a.test/one/properties").await;
    assert_eq!(now["properties"], json!({ "description": ["Parses Zebra labels"], "tier": ["gold"] }));
    let of_version = "a.test/two/versions/v1.0.0/properties";
    center.annotate(Method::PUT, of_version, &center.admin, &json!({ "note": "first GOLD master" })).await;
    assert_eq!(
        center.json(&format!("/api/v1/modules/{of_version}")).await["properties"]["note"][0],
        "first GOLD master"
    );

    let found = |page: Value| {
        let results = page["results"].as_array().unwrap();
        results.iter().map(|result| result["module"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(center.json("/api/v1/search?q=zebra").await), ["a.test/one"]);
    assert_eq!(found(center.json("/api/v1/search?q=gold").await), ["a.test/one", "a.test/two"]);
    assert_eq!(found(center.json("/api/v1/search?q=TWO+gold").await), ["a.test/two"]);
    assert_eq!(found(center.json("/api/v1/search?q=giraffe").await), Vec::<String>::new());
    let first = center.json("/api/v1/search?q=a.test&page_size=1").await;
    let token = first["next_page_token"].as_str().unwrap().to_owned();
    assert_eq!(first["results"][0]["properties"]["tier"][0], "gold");
    assert_eq!(found(center.json(&format!("/api/v1/search?q=a.test&page_token={token}")).await), ["a.test/two"]);

    for (path, document) in
        [("a.test/nobody/properties", json!({})), ("a.test/one/versions/v1.9.0/properties", json!({}))]
    {
        let answer = center.annotate(Method::PUT, path, &center.admin, &document).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    for document in [json!([]), json!({ "a": 1 }), json!({ "a": [1] }), json!({ "": "x" })] {
        let answer = center.annotate(Method::PUT, path, &center.admin, &document).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{document}");
    }
    let audit = center.json("/api/v1/audit?limit=2").await;
    assert_eq!(audit["entries"][0]["action"], "annotate");
    assert_eq!(audit["entries"][0]["by"], "admin");
    let token = audit["next_page_token"].as_str().unwrap();
    let earlier = center.json(&format!("/api/v1/audit?page_token={token}")).await;
    let actions: Vec<_> = earlier["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["annotate", "publish", "publish"]);
}

#[tokio::test]
async fn the_index_and_dependents_follow_what_comes() {
    let center = Center::new().await;
    center.publish_requiring("a.test/app", "v1.0.0", "b.test/lib").await;
    center.publish_requiring("a.test/app", "v1.2.0", "b.test/lib").await;
    center.publish_requiring("a.test/tool", "v0.1.0", "b.test/other").await;
    let lines = |answer: &Answer| {
        answer.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let answer = center.until("/index", |answer| answer.text().lines().count() == 3).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let all = lines(&answer);
    let order: Vec<_> =
        all.iter().map(|line| (line["Path"].as_str().unwrap(), line["Version"].as_str().unwrap())).collect();
    assert_eq!(order, [("a.test/app", "v1.0.0"), ("a.test/app", "v1.2.0"), ("a.test/tool", "v0.1.0")]);
    let since = all[1]["Timestamp"].as_str().unwrap();
    assert_eq!(lines(&center.get(&format!("/index?since={since}")).await), all[1..]);
    assert_eq!(lines(&center.get("/index?limit=1").await), all[..1]);

    let found = center.json("/api/v1/modules/b.test/lib/dependents").await;
    assert_eq!(found["dependents"], json!([{ "module": "a.test/app", "version": "v1.2.0", "origin": "golang-local" }]));
    let path = "/api/go/golang-local/a.test/app/@v/v1.2.0";
    center.send(request(Method::DELETE, path, &[("authorization", &center.token)], Body::empty())).await;
    assert_eq!(center.json("/api/v1/modules/b.test/lib/dependents").await["dependents"], json!([]));
}

#[tokio::test]
async fn pages_and_athens_clients_find_the_catalog() {
    let center = Center::new().await;
    center.publish("a.test/one", "v1.0.0").await;
    center.publish("a.test/one", "v1.1.0").await;
    center.publish("a.test/two", "v1.0.0").await;
    let first = center.json("/catalog?pagesize=1").await;
    assert_eq!(
        first["modules"],
        json!([{ "module": "a.test/one", "version": "v1.0.0" }, { "module": "a.test/one", "version": "v1.1.0" }])
    );
    let second = center.json(&format!("/catalog?pagesize=1&token={}", first["next"].as_str().unwrap())).await;
    assert_eq!((&second["modules"][0]["module"], &second["next"]), (&json!("a.test/two"), &json!("")));
    let html = [("accept", "text/html,*/*;q=0.8")];
    let page = center.get_with("/catalog?q=%22%3Cscript%3E", &html).await;
    assert!(page.text().contains("&quot;&lt;script&gt;") && !page.text().contains("<script>"), "{}", page.text());
    assert_eq!(page.header("content-security-policy"), "default-src 'self'");
    assert!(center.get_with("/catalog", &html).await.text().contains("/api/v1/modules/a.test/one/versions"));
    assert!(center.get("/").await.text().contains("GOPROXY="));
}

#[tokio::test]
async fn nobody_finds_what_he_may_not_read() {
    let center = Center::with(|config| config.access.anonymous.clear()).await;
    center.publish("a.test/one", "v1.0.0").await;
    let reader = [("authorization", center.reader.as_str())];
    for path in [
        "/catalog",
        "/index",
        "/api/v1/catalog",
        "/api/v1/search?q=a",
        "/api/v1/modules/a.test/one/versions",
        "/api/v1/repos",
    ] {
        assert_eq!(center.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(center.get_with(path, &reader).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/api/v1/audit", "/api/v1/tokens", "/api/v1/stats"] {
        assert_eq!(center.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(center.get_with(path, &reader).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let tokens = center.json("/api/v1/tokens").await;
    assert_eq!(tokens["tokens"][1], json!({ "name": "reader", "grants": [Grant::Read], "from": "file" }));
    assert_eq!(tokens.to_string().matches("sha256").count(), 0);
    let stats = center.json("/api/v1/stats").await;
    assert_eq!(stats["repos"][0]["name"], "golang-local");
    assert_eq!((&stats["repos"][0]["modules"], &stats["repos"][0]["zips"]), (&json!(1), &json!(1)));
}
