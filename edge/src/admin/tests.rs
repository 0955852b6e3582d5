//! The administration of a running edge.

use serde_json::{Value, json};

use crate::testing::{Center, Proof, Reply, TestEdge};

async fn post(edge: &TestEdge, path: &str, body: &Value) -> (u16, Value) {
    let answer = edge.client.post(edge.admin_url(path)).body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

fn sha256_hex(body: &str) -> String {
    shared::digest::Digest::of(body.as_bytes()).hex()
}

fn publish(center: &Center, module: &str, version: &str) {
    for (extension, body) in [("info", "{}"), ("mod", "module m\n"), ("zip", "PK")] {
        let path = format!("{module}/@v/{version}.{extension}");
        center.reply(&path, Reply::right(format!("{body}{module}{version}"), Proof::Header));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prewarming_fills_what_is_not_held_and_says_what_failed() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    publish(&center, "example.com/a", "v1.0.0");
    edge.get("example.com/a/@v/v1.0.0.mod").await;
    let wanted = json!({ "artefacts": ["example.com/a@v1.0.0", "example.com/missing/@v/list"] });
    let (status, answer) = post(&edge, "api/v1/prewarm", &wanted).await;
    assert_eq!(status, 200);
    assert_eq!([&answer["held"], &answer["filled"], &answer["failed"]], [1, 2, 1], "{answer}");
    assert_eq!(answer["artefacts"][1]["result"], "held");
    let held = sha256_hex("module m\nexample.com/av1.0.0");
    assert_eq!([&answer["artefacts"][1]["sha256"], &answer["artefacts"][1]["bytes"]], [&json!(held), &json!(28)]);
    assert_eq!(answer["artefacts"][2]["sha256"], json!(sha256_hex("PKexample.com/av1.0.0")), "also of what was filled");
    assert_eq!(answer["artefacts"][3]["status"], 404);
    assert!(answer["artefacts"][3]["error"].as_str().unwrap().contains("no such artefact"), "{answer}");
    assert_eq!(edge.get("example.com/a/@v/v1.0.0.zip").await.x_cache(), "HIT");
    let (_, again) = post(&edge, "api/v1/prewarm", &wanted).await;
    assert_eq!([&again["held"], &again["filled"], &again["failed"]], [3, 0, 1], "{again}");
    let (status, answer) = post(&edge, "api/v1/prewarm", &json!({ "artefacts": ["example.com/a@main"] })).await;
    assert_eq!(status, 400);
    assert!(answer["detail"].as_str().unwrap().contains("example.com/a@main"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_prewarmed_costs_clients_no_center() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    let infos: Vec<String> = (0..8).map(|number| format!("example.com/m{number}/@v/v1.0.0.info")).collect();
    for info in &infos {
        center.reply(info, Reply::Refusal(503, "unavailable: not for this platform"));
    }
    let state = async || {
        let report = edge.client.get(edge.admin_url("api/v1/upstreams")).send().await.unwrap().text().await.unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        report["upstreams"][0]["breaker"]["state"].as_str().unwrap().to_owned()
    };
    let (_, answer) = post(&edge, "api/v1/prewarm", &json!({ "artefacts": infos })).await;
    assert_eq!(answer["failed"], 8, "{answer}");
    assert_eq!(state().await, "closed");
    for info in &infos {
        edge.get(info).await;
    }
    assert_eq!(state().await, "open", "what clients ask for counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_a_version_a_module_or_all() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    for version in ["v1.0.0", "v1.1.0"] {
        publish(&center, "example.com/a", version);
        edge.get(&format!("example.com/a/@v/{version}.mod")).await;
        edge.get(&format!("example.com/a/@v/{version}.zip")).await;
    }
    let (status, answer) =
        post(&edge, "api/v1/purge", &json!({ "module": "example.com/a", "version": "v1.0.0" })).await;
    assert_eq!((status, &answer["purged"]), (200, &json!(2)));
    assert_eq!(edge.get("example.com/a/@v/v1.1.0.mod").await.x_cache(), "HIT");
    assert_eq!(edge.get("example.com/a/@v/v1.0.0.mod").await.x_cache(), "MISS");
    let (_, answer) = post(&edge, "api/v1/purge", &json!({ "module": "example.com/a" })).await;
    assert_eq!(answer["purged"], 3);
    for wrong in [json!({ "version": "v1.0.0" }), json!({ "module": "a b" }), json!({ "modul": "x" })] {
        assert_eq!(post(&edge, "api/v1/purge", &wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_modules_are_those_asked_for_most() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    for (module, times) in [("example.com/a", 2), ("example.com/b", 5)] {
        center.reply(&format!("{module}/@v/list"), Reply::right("v1.0.0\n", Proof::Header));
        for _ in 0..times {
            edge.get(&format!("{module}/@v/list")).await;
        }
    }
    let get = async |path: &str| edge.client.get(edge.admin_url(path)).send().await.unwrap();
    let answer: Value = serde_json::from_str(&get("api/v1/hot?n=1").await.text().await.unwrap()).unwrap();
    let modules = answer["modules"].as_array().unwrap();
    assert_eq!((modules.len(), &modules[0]["module"]), (1, &json!("example.com/b")), "{answer}");
    assert_eq!(get("api/v1/hot?n=x").await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_opens_a_breaker_and_lets_it_go() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    center.reply("example.com/a/@v/list", Reply::right("v1.0.0\n", Proof::Header));
    let path = format!("api/v1/upstreams/{}", center.address);
    let (status, answer) = post(&edge, &path, &json!({ "breaker": "open", "for": "1m" })).await;
    assert_eq!((status, &answer["upstreams"][0]["breaker"]["state"]), (200, &json!("open")), "{answer}");
    let (status, answer) = post(&edge, &path, &json!({ "breaker": "auto" })).await;
    assert_eq!((status, &answer["upstreams"][0]["breaker"]["state"]), (200, &json!("closed")), "{answer}");
    assert_eq!(edge.get("example.com/a/@v/list").await.status, 200);
    for (name, body) in [
        ("nobody", json!({ "breaker": "open" })),
        (path.rsplit('/').next().unwrap(), json!({})),
        (path.rsplit('/').next().unwrap(), json!({ "breaker": "ajar" })),
        (path.rsplit('/').next().unwrap(), json!({ "breaker": "open", "for": "48h" })),
    ] {
        assert_eq!(post(&edge, &format!("api/v1/upstreams/{name}"), &body).await.0, 400, "{name} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_problem_documents() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    let url = |path: &str| edge.admin_url(path);
    let answers = [
        (404, edge.client.get(url("api/v1/nothing"))),
        (405, edge.client.get(url("api/v1/purge"))),
        (413, edge.client.post(url("api/v1/prewarm")).body(vec![b' '; (1 << 20) + 1])),
        (403, edge.client.post(url("api/v1/purge")).header("origin", "http://127.0.0.1")),
        (400, edge.client.post(url("api/v1/purge")).body("{")),
    ];
    for (status, request) in answers {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{status}");
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_file_of_tokens_one_that_grants_admin_is_needed() {
    use shared::access::{Grant, TokenEntry, TokenFile, generate};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.yaml");
    let add = |name: &str, grant| {
        let token = generate().unwrap();
        let grants = vec![grant];
        let entry = TokenEntry { name: name.into(), sha256: token.hashed, grants, repositories: vec![] };
        TokenFile::append(&file, entry).unwrap();
        token.plain
    };
    let (reader, admin) = (add("reader", Grant::Read), add("admin", Grant::Admin));
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |config| config.admin_access.tokens_file = Some(file.clone()));
    let get = |path: &str, token: Option<&str>| {
        let request = edge.client.get(edge.admin_url(path));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    for path in ["healthz", "readyz", "version", "metrics"] {
        assert_eq!(get(path, None).await, 200, "{path}");
    }
    for (token, status) in
        [(None, 401), (Some("modtier_x"), 401), (Some(reader.as_str()), 403), (Some(admin.as_str()), 200)]
    {
        assert_eq!(get("api/v1/sync", token).await, status);
    }
}
