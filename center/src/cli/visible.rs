//! After a publish: waits until the edges have it, as the syncer sees them.
//!
//! The syncer knows every edge, with Redis and without, and says how far each is (`GET /api/v1/edges`). The center's answer to a publish
//! names, for each log that tells of it, a change at or after the publish's own; an edge whose cursor has reached that of the log which
//! it follows has made the old list stale. (The head that the syncer sees is no such thing: it may ask another replica of the center,
//! which has not heard of the publish yet.)

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Url;
use serde::Deserialize;
use shared::change::ChangeId;
use shared::client::{ClientOptions, http_client};
use tokio::time::{Instant, sleep, timeout};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one answer may take: the syncer asks every edge for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Edges that are named because they have not got it.
const NAMED_MAX: usize = 10;

/// What the syncer says.
#[derive(Debug, Deserialize)]
struct View {
    /// The repository that the edges follow.
    repo: String,
    edges: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    #[serde(rename = "edge")]
    name: String,
    up: bool,
    cursor: Option<ChangeId>,
}

/// On which edges it is visible.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Visible {
    have: usize,
    of: usize,
    after: Duration,
    /// Who has it not, and why.
    missing: Vec<String>,
}

impl Visible {
    /// Whether there are edges, and all have it.
    pub(super) const fn is_everywhere(&self) -> bool {
        self.of > 0 && self.have == self.of
    }
}

impl fmt::Display for Visible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "visible on {} of {} edges after {:.1} s", self.have, self.of, self.after.as_secs_f64())?;
        for (at, missing) in self.missing.iter().take(NAMED_MAX).enumerate() {
            write!(f, "{}{missing}", if at == 0 { "; not on: " } else { ", " })?;
        }
        if self.missing.len() > NAMED_MAX { write!(f, " and {} more", self.missing.len() - NAMED_MAX) } else { Ok(()) }
    }
}

/// Waits for at most `limit` from now on, until the edges have these changes: by repository.
pub(super) async fn wait(
    syncer: &Url,
    changes: &BTreeMap<String, ChangeId>,
    limit: Duration,
) -> anyhow::Result<Visible> {
    let mut base = syncer.clone();
    base.set_path(&format!("{}/", base.path().trim_end_matches('/')));
    let url = base.join("api/v1/edges").context("--syncer")?;
    let client = http_client(ClientOptions { read_timeout: ANSWER_TIMEOUT, ..ClientOptions::default() })
        .context("the HTTP client cannot be set up")?;
    let (began, mut seen) = (Instant::now(), None);
    loop {
        // Without any answer yet, the first one is waited for: it says at least who has it not.
        let left = if seen.is_some() { limit.saturating_sub(began.elapsed()) } else { ANSWER_TIMEOUT };
        let asked = timeout(left, ask(&client, &url)).await;
        let is_over = began.elapsed() >= limit;
        match (asked, seen.take()) {
            (Ok(Ok(view)), _) => {
                let unheard = || format!("the edges follow {:?}, whose log does not tell of it", view.repo);
                let target = *changes.get(&view.repo).with_context(unheard)?;
                let visible = judge(&view, target, began.elapsed());
                if is_over || visible.is_everywhere() {
                    return Ok(visible);
                }
                seen = Some(visible);
            }
            // The last answer stands.
            (Err(_), Some(visible)) => return Ok(Visible { after: began.elapsed(), ..visible }),
            (Ok(Err(error)), None) if is_over => return Err(error),
            (Err(_), None) if is_over => anyhow::bail!("the syncer does not answer"),
            // It may be starting.
            (_, before) => seen = before,
        }
        sleep(PAUSE).await;
    }
}

async fn ask(client: &reqwest::Client, url: &Url) -> anyhow::Result<View> {
    let failed = || format!("the syncer at {} cannot be asked", url.origin().ascii_serialization());
    let response = client.get(url.clone()).send().await.map_err(reqwest::Error::without_url).with_context(failed)?;
    let response = response.error_for_status().map_err(reqwest::Error::without_url).with_context(failed)?;
    response.json().await.map_err(reqwest::Error::without_url).with_context(failed)
}

fn judge(view: &View, target: ChangeId, after: Duration) -> Visible {
    let has = |edge: &&Edge| edge.up && edge.cursor.is_some_and(|cursor| cursor >= target);
    let missing = view.edges.iter().filter(|edge| !has(edge)).map(|edge| match (edge.up, edge.cursor) {
        (true, Some(cursor)) => format!("{} (at {cursor})", edge.name),
        (true, None) => format!("{} (does not say how far it is)", edge.name),
        (false, _) => format!("{} (does not answer)", edge.name),
    });
    let missing: Vec<String> = missing.collect();
    Visible { have: view.edges.len() - missing.len(), of: view.edges.len(), after, missing }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn id(text: &str) -> ChangeId {
        text.parse().unwrap()
    }

    #[test]
    fn an_edge_has_it_when_its_cursor_has_reached_the_change() {
        let text = r#"{"repo":"r","head":"5-9","center_up":true,"edges":[
            {"edge":"a","up":true,"cursor":"5-9","lag_seconds":0.0},{"edge":"b","up":true,"cursor":"5-8"},
            {"edge":"c","up":false,"cursor":"5-9"},{"edge":"d","up":true,"cursor":null}]}"#;
        let view: View = serde_json::from_str(text).unwrap();
        let visible = judge(&view, id("5-9"), Duration::from_millis(420));
        assert!(!visible.is_everywhere());
        assert_eq!(
            visible.to_string(),
            "visible on 1 of 4 edges after 0.4 s; not on: b (at 5-8), c (does not answer), d (does not say how far it is)"
        );
    }

    #[test]
    fn no_edge_is_not_everywhere() {
        let view: View = serde_json::from_str(r#"{"repo":"r","head":"5-9","center_up":true,"edges":[]}"#).unwrap();
        assert!(!judge(&view, id("5-9"), Duration::ZERO).is_everywhere());
    }

    #[tokio::test]
    async fn the_head_of_a_replica_that_is_behind_is_not_taken_for_the_change() {
        let said = |cursor: &str| {
            format!(
                r#"{{"repo":"r","head":"{cursor}","center_up":true,"edges":[{{"edge":"a","up":true,"cursor":"{cursor}"}}]}}"#
            )
        };
        let answers = Arc::new(Mutex::new(vec![said("5-9"), said("5-8"), said("5-8")]));
        let (left, last) = (Arc::clone(&answers), said("5-9"));
        let answer = move || std::future::ready(left.lock().pop().unwrap_or_else(|| last.clone()));
        let service = axum::Router::new().route("/api/v1/edges", axum::routing::get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let syncer = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, service).await });
        let changes = BTreeMap::from([("r".to_owned(), id("5-9"))]);
        let visible = wait(&syncer, &changes, Duration::from_secs(20)).await.unwrap();
        assert!(visible.is_everywhere() && answers.lock().is_empty(), "{visible}");
        let elsewhere = BTreeMap::from([("other".to_owned(), id("5-9"))]);
        let refused = wait(&syncer, &elsewhere, Duration::from_secs(20)).await.unwrap_err().to_string();
        assert!(refused.contains("does not tell"), "{refused}");
    }
}
