//! `control:edges`: what an operator asks of all edges through Redis, for those whose administration cannot be reached.
//!
//! One action at a time, as JSON with an expiry. An edge does each once and tells the last one that it did with its heartbeat.

use std::sync::Arc;

use redis::RedisError;
use serde::Deserialize;
use shared::change::ChangeId;
use shared::redis::Connection;

use super::replay;
use crate::app::App;

/// Where it stands.
const KEY: &str = "control:edges";

/// What is asked.
#[derive(Debug, Deserialize)]
struct Action {
    /// Names the action, so that it is done once.
    id: String,
    /// The repository that it is about.
    repo: String,
    /// Who is to do it; empty: everybody.
    #[serde(default)]
    edges: Vec<String>,
    /// Apply what follows this id once more.
    replay_from: ChangeId,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Control {
    last: String,
}

impl Control {
    /// The last action that was done here, in the words `<id> <records>`, or `<id> failed`.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    /// Looks whether something is asked, and does it.
    pub(super) async fn obey(&mut self, app: &Arc<App>, connection: &mut Connection) -> Result<(), RedisError> {
        let text: Option<String> = redis::cmd("GET").arg(KEY).query_async(connection).await?;
        let Some(action) = text.and_then(|text| serde_json::from_str::<Action>(&text).ok()) else { return Ok(()) };
        let is_mine = action.edges.is_empty() || action.edges.contains(&app.edge_id);
        if !is_mine || action.repo != app.config().repository || self.last.split(' ').next() == Some(&action.id) {
            return Ok(());
        }
        let outcome = match replay(app, action.replay_from).await {
            Ok(replayed) => replayed.records.to_string(),
            Err(error) => {
                tracing::warn!(%error, "changes were not applied once more");
                "failed".to_owned()
            }
        };
        self.last = format!("{} {outcome}", action.id);
        Ok(())
    }
}
