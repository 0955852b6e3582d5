//! `control:edges:<repo>`: what an operator asks of all edges through Redis, for those whose administration cannot be reached.
//!
//! One action at a time, as JSON with an expiry. An edge does each once and tells the last one that it began or did with its
//! heartbeat, which goes on meanwhile: an action may take longer than a heartbeat holds.

use std::sync::Arc;

use redis::RedisError;
use serde::Deserialize;
use shared::change::ChangeId;
use shared::redis::{Connection, Redis};
use tokio::task::JoinSet;

use super::replay;
use crate::app::App;

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

/// What is being done, and what was done last.
#[derive(Debug, Default)]
pub(super) struct Control {
    last: String,
    /// At most one. It ends with this value.
    under_way: JoinSet<String>,
}

impl Control {
    /// The last action, in the words `<id> begun`, then `<id> <records>` or `<id> failed`.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    /// Waits until what is under way is done; for good if nothing is.
    pub(super) async fn done(&mut self) {
        match self.under_way.join_next().await {
            Some(Ok(done)) => self.last = done,
            Some(Err(error)) => {
                tracing::error!(%error, "changes were not applied once more");
                let id = self.last.split(' ').next().unwrap_or_default();
                self.last = format!("{id} failed");
            }
            None => std::future::pending().await,
        }
    }

    /// Looks whether something is asked, and begins it. Another action waits until the one under way is done.
    pub(super) async fn obey(
        &mut self,
        app: &Arc<App>,
        redis: &Redis,
        connection: &mut Connection,
    ) -> Result<(), RedisError> {
        if !self.under_way.is_empty() {
            return Ok(());
        }
        let key = redis.key("control:edges", &app.config().repository);
        let text: Option<String> = redis::cmd("GET").arg(key).query_async(connection).await?;
        let Some(action) = text.and_then(|text| serde_json::from_str::<Action>(&text).ok()) else { return Ok(()) };
        let is_mine = action.edges.is_empty() || action.edges.contains(&app.edge_id);
        if !is_mine || action.repo != app.config().repository || self.last.split(' ').next() == Some(&action.id) {
            return Ok(());
        }
        self.last = format!("{} begun", action.id);
        self.under_way.spawn(act(Arc::clone(app), action));
        Ok(())
    }
}

async fn act(app: Arc<App>, action: Action) -> String {
    let outcome = match replay(&app, action.replay_from).await {
        Ok(replayed) => replayed.records.to_string(),
        Err(error) => {
            tracing::warn!(%error, "changes were not applied once more");
            "failed".to_owned()
        }
    };
    format!("{} {outcome}", action.id)
}
