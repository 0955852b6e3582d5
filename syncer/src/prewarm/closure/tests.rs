//! Graphs of a few modules, as a table of go.mod files. The real `go` command is asked the same in tests/tests/sync.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::*;
use crate::prewarm::fetch::Fetcher;

async fn serve(State(files): State<Arc<HashMap<String, String>>>, uri: Uri) -> Response {
    match files.get(uri.path()) {
        Some(text) => text.clone().into_response(),
        None => (StatusCode::NOT_FOUND, "not found: nothing here\n").into_response(),
    }
}

/// `name version: go-version, requirement version, …` each.
async fn mods(table: &[&str]) -> Mods {
    let mut files = HashMap::new();
    for row in table {
        let (what, rest) = row.split_once(": ").unwrap();
        let (name, version) = what.split_once(' ').unwrap();
        let mut rest = rest.split(", ");
        let mut text = format!("module m.x/{name}\ngo {}\n", rest.next().unwrap());
        text.extend(rest.map(|requirement| format!("require m.x/{requirement}\n")));
        files.insert(format!("/m.x/{name}/@v/{version}.mod"), text);
    }
    let routes = Router::new().fallback(serve).with_state(Arc::new(files));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Mods::new(Fetcher::new(crate::tier::TierClient::open(crate::prewarm::client().unwrap()), &base))
}

/// The go.mod files and the zips of the closure of a go.mod.
async fn closure_of(mods: &Mods, gomod: &str) -> (String, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("go.mod"), gomod).unwrap();
    let closure = resolve(mods, &Project::of_module(folder.path()).unwrap()).await;
    let names = |parts: Parts| {
        let chosen = closure.wanted.iter().filter(|(_, wanted)| **wanted == parts);
        let names = chosen.map(|(key, _)| key.to_string().replace("m.x/", "").replace(".0.0", ""));
        names.collect::<Vec<_>>().join(" ")
    };
    (names(Parts::GRAPH), names(Parts::ALL), closure.flaws.clone())
}

const DIAMOND: [&str; 8] = [
    "a v1.0.0: 1.20, c v1.0.0",
    "b v1.0.0: 1.20, c v2.0.0-pre",
    "b v1.1.0: 1.16, c v1.0.0, d v1.0.0",
    "c v1.0.0: 1.20, e v1.0.0",
    "c v1.1.0: 1.20",
    "d v1.0.0: 1.16, e v1.1.0",
    "e v1.0.0: 1.20",
    "e v1.1.0: 1.20, f v1.0.0",
];

#[tokio::test]
async fn below_a_pruned_module_nothing_is_loaded() {
    let mods = mods(&DIAMOND).await;
    let (graph, build, flaws) = closure_of(&mods, "module x.y\ngo 1.20\nrequire m.x/a v1.0.0\n").await;
    assert_eq!((graph.as_str(), build.as_str()), ("", "a@v1 c@v1"), "e is not asked for by anybody who is loaded");
    assert!(flaws.is_empty(), "{flaws:?}");
}

#[tokio::test]
async fn below_an_unpruned_module_everything_is() {
    let mods = mods(&DIAMOND).await;
    let text = "module x.y\ngo 1.20\nrequire (\n\tm.x/a v1.0.0\n\tm.x/b v1.1.0\n)\n";
    let (graph, build, flaws) = closure_of(&mods, text).await;
    // f is at the end of the unpruned way and is not there.
    assert_eq!(build, "a@v1 b@v1.1.0 c@v1 d@v1 e@v1.1.0 f@v1");
    assert_eq!(graph, "e@v1", "its go.mod is read although another version is taken");
    assert!(flaws.len() == 1 && flaws[0].contains("m.x/f@v1.0.0"), "{flaws:?}");
    let (_, build, _) = closure_of(&mods, "module x.y\nrequire m.x/a v1.0.0\n").await;
    assert_eq!(build, "a@v1 c@v1 e@v1", "an old main module is unpruned itself");
}

#[tokio::test]
async fn replacements_and_exclusions_of_the_main_module_count() {
    let mods = mods(&DIAMOND).await;
    let text = "module x.y\ngo 1.20\nrequire m.x/a v1.0.0\nreplace m.x/c => m.x/c v1.1.0\n";
    assert_eq!(closure_of(&mods, text).await.1, "a@v1 c@v1.1.0");
    let text = "module x.y\ngo 1.20\nrequire m.x/a v1.0.0\nexclude m.x/c v1.0.0\n";
    assert_eq!(closure_of(&mods, text).await.1, "a@v1");
    let text = "module x.y\ngo 1.20\nrequire m.x/a v1.0.0\nreplace m.x/a => ./nowhere\n";
    let (_, build, flaws) = closure_of(&mods, text).await;
    assert_eq!((build.as_str(), flaws.len()), ("", 1), "{flaws:?}");
}

#[tokio::test]
async fn a_chain_that_does_not_end_is_left() {
    let rows: Vec<String> = (0..60).map(|at| format!("c v1.0.{at}: 1.16, c v1.0.{}", at + 1)).collect();
    let mods = mods(&rows.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("go.mod"), "module x.y\ngo 1.20\nrequire m.x/c v1.0.0\n").unwrap();
    let project = Project::of_module(folder.path()).unwrap();
    let closure = graph::walk(&mods, &project, 50).await;
    assert!(closure.flaws.len() == 1 && closure.flaws[0].contains("too large"), "{:?}", closure.flaws);
    assert_eq!(closure.wanted.len(), 51, "fifty, and the one that the last of them requires");
}
