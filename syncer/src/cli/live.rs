//! `modtier-syncer watch`: the table again and again on a terminal, a line for each change elsewhere.

use std::io::IsTerminal as _;
use std::sync::Arc;

use shared::config::Period;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{MissedTickBehavior, interval};

use super::print;
use super::status::{edges, state, summary};
use crate::config::Config;
use crate::daemon::Parties;
use crate::error::SyncerError;
use crate::fleet::{Edge, View};

/// Cursor to the first place, and all below it away.
const CLEAR: &str = "\x1b[H\x1b[J";

/// How it is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Live {
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s")]
    every: Period,
    /// Print lines on a terminal too
    #[arg(long)]
    lines: bool,
}

impl Live {
    /// Shows it until it is stopped.
    pub(crate) async fn run(&self, config: &Config) -> Result<u8, SyncerError> {
        let fleet = Parties::new(config)?.fleet;
        let is_table = std::io::stdout().is_terminal() && !self.lines;
        let mut ticks = interval(self.every.get().max(std::time::Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: Arc<View> = Arc::default();
        loop {
            ticks.tick().await;
            let view = fleet.look().await;
            if is_table {
                print(&format!("{CLEAR}{}\n{}{}", now(), edges(&view), summary(&view)));
            } else {
                for line in changes(&before, &view) {
                    print(&format!("{} {line}\n", now()));
                }
            }
            before = view;
        }
    }
}

/// What is another thing than before, in words.
fn changes(before: &View, view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    if before.head != view.head || before.center_up != view.center_up {
        lines.push(match view.head {
            Some(head) if view.center_up => format!("center at {head}"),
            _ => "center does not answer".to_owned(),
        });
    }
    for edge in &view.edges {
        let was = before.edges.iter().find(|was| was.name == edge.name);
        let differs =
            |was: &Edge| was.cursor != edge.cursor || was.channel != edge.channel || state(was) != state(edge);
        if was.is_none_or(differs) {
            let cursor = edge.cursor.map_or_else(|| "-".to_owned(), |cursor| cursor.to_string());
            let lag = edge.lag_seconds.map_or_else(|| "unknown".to_owned(), |lag| format!("{lag:.2} s"));
            let channel = if edge.channel.is_empty() { "-" } else { &edge.channel };
            lines.push(format!("edge {} {} cursor {cursor} channel {channel} lag {lag}", edge.name, state(edge)));
        }
    }
    let gone = before.edges.iter().filter(|was| !view.edges.iter().any(|edge| edge.name == was.name));
    lines.extend(gone.map(|was| format!("edge {} forgotten", was.name)));
    lines
}

fn now() -> String {
    let now = OffsetDateTime::now_utc().replace_millisecond(0).unwrap_or_else(|_| OffsetDateTime::now_utc());
    now.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use shared::change::ChangeId;

    use super::*;

    #[test]
    fn a_line_comes_for_each_change_and_none_without() {
        let edge = |seq, up| Edge {
            name: "e1".into(),
            region: String::new(),
            up,
            cursor: Some(ChangeId { epoch: 1, seq }),
            lag_seconds: Some(0.0),
            channel: "feed".into(),
            last_reconcile: None,
            hit_rate: None,
            obeyed: String::new(),
            beat: None,
        };
        let view = |seq, edges| View {
            repo: "r".into(),
            head: Some(ChangeId { epoch: 1, seq }),
            center_up: true,
            redis_up: None,
            edges,
        };
        let first = view(2, vec![edge(2, true)]);
        assert_eq!(
            changes(&View::default(), &first),
            ["center at 1-2", "edge e1 ok cursor 1-2 channel feed lag 0.00 s"]
        );
        assert!(changes(&first, &first).is_empty());
        assert_eq!(
            changes(&first, &view(2, vec![edge(2, false)])),
            ["edge e1 down cursor 1-2 channel feed lag 0.00 s"]
        );
        assert_eq!(changes(&first, &view(2, vec![])), ["edge e1 forgotten"]);
    }
}
