//! `modtier-syncer status`: a table of the edges, as they are now.

use serde_json::json;
use shared::cli::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE};
use shared::table::{number, table, text};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::print;
use crate::config::Config;
use crate::daemon::Parties;
use crate::error::SyncerError;
use crate::fleet::{Edge, View};

/// A lag of more seconds than this is one.
pub(super) const BEHIND_SECONDS: f64 = 1.0;

/// How it is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Shows it. 0: every edge has every change; 1: some have not, or do not answer; 2: nobody could be asked.
    pub(crate) async fn run(&self, config: &Config) -> Result<u8, SyncerError> {
        let view = Parties::new(config)?.fleet.look().await;
        if self.json {
            print(&format!("{}\n", json!(*view)));
        } else {
            print(&(edges(&view) + &summary(&view)));
        }
        Ok(exit_code(&view))
    }
}

fn exit_code(view: &View) -> u8 {
    if !view.center_up && view.edges.iter().all(|edge| !edge.up) {
        EXIT_USAGE
    } else if view.center_up && view.redis_up != Some(false) && view.edges.iter().all(is_well) {
        EXIT_DONE
    } else {
        EXIT_FAILED
    }
}

fn is_well(edge: &Edge) -> bool {
    edge.up && !is_behind(edge)
}

pub(super) fn is_behind(edge: &Edge) -> bool {
    edge.lag_seconds.is_none_or(|lag| lag > BEHIND_SECONDS)
}

/// The table.
pub(super) fn edges(view: &View) -> String {
    let row = |edge: &Edge| {
        let cells = [
            json!(edge.name),
            json!(if edge.region.is_empty() { "-" } else { &edge.region }),
            json!(state(edge)),
            json!(if edge.channel.is_empty() { "-" } else { &edge.channel }),
            json!(edge.cursor.map_or_else(|| "-".to_owned(), |cursor| cursor.to_string())),
        ];
        let mut cells: Vec<String> = cells.iter().map(text).collect();
        cells.push(number(&json!(edge.lag_seconds)));
        cells.push(edge.last_reconcile.map_or_else(|| "-".to_owned(), clock));
        cells.push(edge.hit_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0)));
        cells
    };
    let names = ["EDGE", "REGION", "STATE", "CHANNEL", "CURSOR", "LAG s", "LAST RECONCILE", "HIT RATE"];
    table(&names, &view.edges.iter().map(row).collect::<Vec<_>>())
}

/// What is to be said of all.
pub(super) fn summary(view: &View) -> String {
    let count = |is: fn(&Edge) -> bool| view.edges.iter().filter(|edge| is(edge)).count();
    let head = match (view.center_up, view.head) {
        (true, Some(head)) => format!("the center is at {head}"),
        (_, Some(head)) => format!("the center does not answer; it was at {head}"),
        (_, None) => "the center does not answer".to_owned(),
    };
    let behind = count(|edge| edge.up && is_behind(edge));
    let redis = if view.redis_up == Some(false) { "; Redis does not answer" } else { "" };
    format!("{head}{redis}; {} edges, {behind} behind, {} down\n", view.edges.len(), count(|edge| !edge.up))
}

pub(super) fn state(edge: &Edge) -> &'static str {
    match (edge.up, is_behind(edge)) {
        (false, _) => "down",
        (true, true) => "behind",
        (true, false) => "ok",
    }
}

/// A Unix time in seconds as people write it.
fn clock(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use shared::change::ChangeId;

    use super::*;

    fn edge(name: &str, up: bool, lag: Option<f64>) -> Edge {
        Edge {
            name: name.into(),
            region: String::new(),
            up,
            cursor: Some(ChangeId { epoch: 1, seq: 2 }),
            lag_seconds: lag,
            channel: "feed".into(),
            last_reconcile: Some(0),
            hit_rate: Some(0.5),
            obeyed: String::new(),
            beat: None,
        }
    }

    #[test]
    fn the_exit_code_tells_all_some_or_nobody() {
        let view = |center_up, edges: Vec<Edge>| View {
            repo: "r".into(),
            head: Some(ChangeId { epoch: 1, seq: 2 }),
            center_up,
            redis_up: None,
            edges,
        };
        for (view, code) in [
            (view(true, vec![edge("a", true, Some(0.0))]), 0),
            (view(true, vec![]), 0),
            (view(true, vec![edge("a", true, Some(0.0)), edge("b", false, Some(0.0))]), 1),
            (view(true, vec![edge("a", true, Some(9.0))]), 1),
            (view(false, vec![edge("a", true, Some(0.0))]), 1),
            (View { redis_up: Some(false), ..view(true, vec![edge("a", true, Some(0.0))]) }, 1),
            (view(false, vec![edge("a", false, None)]), 2),
        ] {
            assert_eq!(exit_code(&view), code, "{view:?}");
        }
    }

    #[test]
    fn the_table_says_what_is_known() {
        let view = View {
            repo: "r".into(),
            head: None,
            center_up: false,
            redis_up: None,
            edges: vec![edge("a", true, Some(0.25)), edge("b", false, None)],
        };
        let shown = edges(&view) + &summary(&view);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].starts_with("EDGE  REGION  STATE  CHANNEL  CURSOR  LAG s"), "{shown}");
        assert!(
            lines[1].starts_with("a     -       ok     feed     1-2     0.25   1970-01-01T00:00:00Z  50.0 %"),
            "{shown}"
        );
        assert!(lines[2].starts_with("b     -       down"), "{shown}");
        assert_eq!(lines[3], "the center does not answer; 2 edges, 0 behind, 1 down");
    }
}
