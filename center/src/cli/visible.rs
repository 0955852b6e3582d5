//! After a publish: waits until the edges have it, as the syncer sees them.
//!
//! The syncer knows every edge, with Redis and without, and says how far each is (`GET /api/v1/edges`). A publish is answered when its
//! record is in the log; so the head of the log that the syncer sees from then on is at or after that record, and an edge whose cursor has
//! reached it has made the old list stale.

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
    head: Option<ChangeId>,
    center_up: bool,
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

/// Waits for at most `limit` from now on.
pub(super) async fn wait(syncer: &Url, limit: Duration) -> anyhow::Result<Visible> {
    let mut base = syncer.clone();
    base.set_path(&format!("{}/", base.path().trim_end_matches('/')));
    let url = base.join("api/v1/edges").context("--syncer")?;
    let client = http_client(ClientOptions { read_timeout: ANSWER_TIMEOUT, ..ClientOptions::default() })
        .context("the HTTP client cannot be set up")?;
    let (began, mut target, mut seen) = (Instant::now(), None, None);
    loop {
        // Without any answer yet, the first one is waited for: it says at least who has it not.
        let left = if seen.is_some() { limit.saturating_sub(began.elapsed()) } else { ANSWER_TIMEOUT };
        let asked = timeout(left, ask(&client, &url)).await;
        let is_over = began.elapsed() >= limit;
        match (asked, seen.take()) {
            (Ok(Ok(view)), _) => {
                target = target.or(view.head.filter(|_| view.center_up));
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

fn judge(view: &View, target: Option<ChangeId>, after: Duration) -> Visible {
    let has = |edge: &&Edge| edge.up && edge.cursor.zip(target).is_some_and(|(cursor, target)| cursor >= target);
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
    use super::*;

    #[test]
    fn an_edge_has_it_when_its_cursor_has_reached_the_head() {
        let text = r#"{"repo":"r","head":"5-9","center_up":true,"edges":[
            {"edge":"a","up":true,"cursor":"5-9","lag_seconds":0.0},{"edge":"b","up":true,"cursor":"5-8"},
            {"edge":"c","up":false,"cursor":"5-9"},{"edge":"d","up":true,"cursor":null}]}"#;
        let view: View = serde_json::from_str(text).unwrap();
        let visible = judge(&view, view.head, Duration::from_millis(420));
        assert!(!visible.is_everywhere());
        assert_eq!(
            visible.to_string(),
            "visible on 1 of 4 edges after 0.4 s; not on: b (at 5-8), c (does not answer), d (does not say how far it is)"
        );
        assert_eq!(judge(&view, None, Duration::ZERO).have, 0, "without a head nobody has it");
    }

    #[test]
    fn no_edge_is_not_everywhere() {
        let view: View = serde_json::from_str(r#"{"head":"5-9","center_up":true,"edges":[]}"#).unwrap();
        assert!(!judge(&view, view.head, Duration::ZERO).is_everywhere());
    }
}
