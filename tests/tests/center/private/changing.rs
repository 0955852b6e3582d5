//! What is pushed is seen at once where the host says so.

use std::time::Duration;

use modtier_tests::forge::command;
use modtier_tests::{Web, until};
use reqwest::Method;
use serde_json::json;

use super::place::{GIT, Place, SECRET, VANITY};

fn event() -> String {
    json!({ "ref": "refs/tags/v1.1.0", "repository": { "clone_url": format!("https://{GIT}/team/lib.git") } })
        .to_string()
}

/// The event's signature as GitHub makes it.
fn signature(place: &Place) -> String {
    let file = place.forge.root().join("event");
    std::fs::write(&file, event()).unwrap();
    let said = command("openssl", &["dgst", "-sha256", "-hmac", SECRET, file.to_str().unwrap()], place.forge.root());
    format!("sha256={}", said.rsplit(' ').next().unwrap())
}

async fn notify(web: &Web, signature: Option<(&str, &str)>) -> modtier_tests::Reply {
    let mut request = web.request(Method::POST, "api/v1/repos/golang-private/webhook").body(event());
    if let Some((name, value)) = signature {
        request = request.header(name, value);
    }
    Web::send(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_tag_is_listed_at_once_and_reaches_the_edge() {
    let place = Place::new().await;
    let module = format!("{VANITY}/lib");
    let repository = place.forge.repository("team/lib");
    repository.release(&module, "v1.0.0");
    place.forge.import(&module, "git", &format!("https://{GIT}/team/lib"));
    let mut settings = place.settings();
    settings.repository["metadata_period"] = json!("1h");
    settings.repository["negative_period"] = json!("1h");
    let cluster = place.builder(&settings).start().await;
    let (center, edge) = (cluster.repository_web("golang-private"), cluster.edge_web());
    let list = format!("{module}/@v/list");
    let new = format!("{module}/@v/v1.1.0.info");
    let tip = format!("{module}/@v/main.info");
    assert_eq!(edge.get(&list).await.text(), "v1.0.0\n");
    assert_eq!(edge.get(&new).await.status, 404);
    let before = edge.get(&tip).await.text();

    repository.release(&module, "v1.1.0");
    assert_eq!(center.get(&list).await.text(), "v1.0.0\n", "without an event what is held counts");
    for forged in [None, Some(("x-gitlab-token", "wrong")), Some(("x-hub-signature-256", "sha256=00"))] {
        assert_eq!(notify(&cluster.center_web(), forged).await.status, 401, "{forged:?}");
    }
    let answer = notify(&cluster.center_web(), Some(("x-hub-signature-256", &signature(&place)))).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "modules": 1 })), "{}", answer.text());
    assert_eq!(center.get(&list).await.text(), "v1.0.0\nv1.1.0\n");
    assert_ne!(center.get(&tip).await.text(), before);
    let limit = Duration::from_secs(30);
    until("the edge lists the tag", limit, async || edge.get(&list).await.text() == "v1.0.0\nv1.1.0\n").await;
    until("the edge has the version", limit, async || edge.get(&new).await.status == 200).await;
    until("the edge sees the branch", limit, async || edge.get(&tip).await.text() != before).await;

    let changes = cluster.center_web().request(Method::GET, "api/v1/repos/golang-virtual/changes");
    let changes = Web::send(changes.bearer_auth(cluster.token())).await.unwrap().text();
    let told = |event: &str, kind: &str, version: &str| {
        changes.lines().any(|line| {
            let change: serde_json::Value = serde_json::from_str(line).unwrap();
            change["event_type"] == event
                && change["kind"] == kind
                && change["version"].as_str().unwrap_or("") == version
        })
    };
    assert!(
        told("UPDATE", "list", "") && told("CREATE", "version", "v1.1.0") && told("UPDATE", "query", "main"),
        "{changes}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_does_not_change_a_version_and_a_removed_version_is_gone() {
    let place = Place::new().await;
    let module = format!("{VANITY}/lib");
    let repository = place.forge.repository("team/lib");
    repository.release(&module, "v1.0.0");
    place.forge.import(&module, "git", &format!("https://{GIT}/team/lib"));
    let cluster = place.cluster().await;
    let web = cluster.repository_web("golang-virtual");
    let gomod = web.get(&format!("{module}/@v/v1.0.0.mod")).await;
    assert_eq!(gomod.status, 200, "{}", gomod.text());
    // Only the go.mod is held when the tag moves to a commit with another one.
    repository.commit(&[("go.mod", &format!("module {module}\n\ngo 1.22\n"))]).tag("v1.0.0");
    // Nor is the clone that still has the old one.
    std::fs::remove_dir_all(cluster.data("center").join("private/golang-private/vcs")).unwrap();
    std::fs::create_dir(cluster.data("center").join("private/golang-private/vcs")).unwrap();
    let zip = web.get(&format!("{module}/@v/v1.0.0.zip")).await;
    assert_eq!(zip.status, 502, "{}", zip.text());
    assert_eq!(web.get(&format!("{module}/@v/v1.0.0.mod")).await.body, gomod.body);

    let remove = web.request(Method::DELETE, &format!("{module}/@v/v1.0.0"));
    let private = cluster.repository_web("golang-private");
    let remove_there = private.request(Method::DELETE, &format!("{module}/@v/v1.0.0")).bearer_auth(cluster.token());
    assert_eq!(Web::send(remove).await.unwrap().status, 401);
    assert_eq!(Web::send(remove_there).await.unwrap().status, 204);
    for artefact in ["info", "mod", "zip"] {
        let reply = web.get(&format!("{module}/@v/v1.0.0.{artefact}")).await;
        assert_eq!(reply.status, 410, "{artefact}: {}", reply.text());
    }
}
