//! Fetchers of the operator's: the protocol of docs/private-repositories.md, over HTTP and as a program.

use std::sync::Arc;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::AUTHORIZATION;
use modtier_tests::forge::PASSWORD;
use modtier_tests::{BuiltModule, Cluster, GoClient, Module, workspace};
use serde_json::{Value, json};

use super::place::{Place, Settings};

const MODULE: &str = "odd.corp.test/lib";

async fn cluster(fetcher: Value) -> (Place, Cluster) {
    let place = Place::new().await;
    let repository = json!({ "type": "private", "owns": ["odd.corp.test"], "fetcher": fetcher });
    let settings = Settings { repository, egress: json!({}) };
    let cluster = place.builder(&settings).start().await;
    (place, cluster)
}

async fn serves_everything(cluster: &Cluster, expected: &BuiltModule) {
    let go = GoClient::new(&cluster.goproxy());
    let output = go.ok(&["mod", "download", "-json", &format!("{MODULE}@latest")]).await;
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((answer["Version"].as_str(), answer["Sum"].as_str()), (Some("v1.0.0"), Some(expected.h1.as_str())));
    let web = cluster.repository_web("golang-virtual");
    assert_eq!(web.get(&format!("{MODULE}/@v/list")).await.text(), "v1.0.0\n");
    let absent = web.get(&format!("{MODULE}/@v/v2.0.0+incompatible.info")).await;
    assert_eq!(absent.status, 404, "{}", absent.text());
    assert!(absent.text().contains("no such revision"), "{}", absent.text());
    let broken = web.get(&format!("{MODULE}/@v/broken.info")).await;
    assert_eq!(broken.status, 502, "{}", broken.text());
}

fn built() -> BuiltModule {
    Module::new(MODULE, "v1.0.0").package().build()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_fetches() {
    let module = Arc::new(built());
    let served = Arc::clone(&module);
    let answer = move |headers: HeaderMap, Json(question): Json<Value>| {
        // The credential of its host, and of no other.
        assert_eq!(headers[AUTHORIZATION], format!("Basic {}", STANDARD.encode(format!("ci:{PASSWORD}"))));
        let module = Arc::clone(&served);
        async move { answer(&question, &module) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fetch", listener.local_addr().unwrap());
    let service = axum::Router::new().route("/fetch/{operation}", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, service).await });
    let hosts = json!({ "127.0.0.1": { "username": "ci", "password_env": "FORGE_PASSWORD" } });
    let (_place, cluster) = cluster(json!({ "kind": "http", "url": url, "hosts": hosts })).await;
    serves_everything(&cluster, &module).await;
}

fn answer(question: &Value, module: &BuiltModule) -> Response {
    assert_eq!(question["module"], MODULE);
    let asked = question["query"].as_str().or(question["version"].as_str()).unwrap_or_default();
    match (question["operation"].as_str().unwrap(), asked) {
        ("list", _) => Json(json!({ "versions": ["v1.0.0"] })).into_response(),
        ("query", "v1.0.0" | "latest") => {
            Json(json!({ "version": "v1.0.0", "time": "2024-05-06T07:08:09Z" })).into_response()
        }
        ("download", "v1.0.0") => module.zip.clone().into_response(),
        ("query", "broken") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => (StatusCode::NOT_FOUND, "no such revision\n").into_response(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_program_fetches() {
    let page = std::fs::read_to_string(workspace().join("docs/private-repositories.md")).unwrap();
    let (_, rest) = page.split_once("```sh\n#!/bin/sh\n").expect("the page has an example");
    let (script, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let module = built();
    let zips = folder.path().join("zips").join(MODULE);
    std::fs::create_dir_all(&zips).unwrap();
    std::fs::write(zips.join("v1.0.0.zip"), &module.zip).unwrap();
    std::fs::create_dir(zips.join("broken.zip")).unwrap();
    let program = folder.path().join("fetch.sh");
    std::fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
    let command =
        ["/bin/sh", program.to_str().unwrap(), folder.path().join("zips").to_str().unwrap()].map(str::to_owned);
    let (_place, cluster) = cluster(json!({ "kind": "command", "command": command })).await;
    serves_everything(&cluster, &module).await;
}
