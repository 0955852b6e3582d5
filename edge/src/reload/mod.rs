//! Hot reload: other settings for a running edge, all at once or not at all.
//!
//! ```text
//! SIGHUP, the file has changed, POST /api/v1/reload
//!   → read and check as at the start ──▶ refused: one line in the log, nothing changes
//!   → compare ──▶ the difference is logged, secrets hidden; what needs a restart keeps its running value
//!   → apply: one page names every part that takes over new settings
//! ```

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use shared::reload::{Outcome, Reloads};
use shared::reload::{Watch, plan};

use crate::app::App;
use crate::config::{self, Config};

/// Settings that are used once, at the start: a change of them waits for the next one. With all that lies below them.
const NEEDS_RESTART: [&str; 13] = [
    "listen",
    "tls.listen",
    "h2c.listen",
    "admin",
    "admin_access",
    "data_dir",
    "repository",
    "tenant",
    "edge_id",
    "redis",
    "log",
    "cache.memory_bytes_max",
    "limits.serving_threads",
];

/// Gives the running parts their new settings: the one place that names them all. What can fail comes first.
fn apply(app: &App, new: Config) -> Result<(), String> {
    app.upstream.reconfigure(&new)?;
    app.cache.reconfigure(&new.cache_config());
    app.settings.store(Arc::new(new));
    Ok(())
}

/// Reads the settings again and applies them; `asked_by` is for the log.
pub(crate) async fn reload(app: &Arc<App>, asked_by: &str) -> Outcome {
    let _turn = app.reloads.turn().await;
    let file = app.reloads.file().map(std::path::Path::to_owned);
    let loaded = app.behind.spawn_blocking(move || config::load(file.as_deref())).await;
    let outcome = match loaded {
        Ok(Ok(new)) => change(app, &new),
        Ok(Err(error)) => Outcome::Refused(error.to_string()),
        Err(error) => Outcome::Refused(format!("reading the settings: {error}")),
    };
    app.reloads.note(&outcome, asked_by);
    outcome
}

fn change(app: &App, new: &Config) -> Outcome {
    let (effective, differences) = match plan(&**app.config(), new, &NEEDS_RESTART) {
        Ok(Some(plan)) => plan,
        Ok(None) => return Outcome::Unchanged,
        Err(error) => return Outcome::Refused(error),
    };
    // What waits for a restart may be what made the new settings a whole.
    if let Err(error) = effective.check() {
        return Outcome::Refused(format!("{error} (with what needs a restart left as it is)"));
    }
    match apply(app, effective) {
        Ok(()) => Outcome::Applied(differences),
        Err(error) => Outcome::Refused(error),
    }
}

/// Reloads whenever the configuration file has changed, until the edge ends. Begins to look before it is first polled.
pub(crate) fn watch(app: Arc<App>) -> impl Future<Output = ()> + Send {
    let watch = app.reloads.file().map(|file| Watch::new(file.to_owned()));
    async move {
        let Some(mut watch) = watch else { return };
        let mut leaving = app.leaving.subscribe();
        loop {
            tokio::select! {
                _ = leaving.wait_for(Option::is_some) => return,
                () = watch.changed() => {}
            }
            reload(&app, "the file has changed").await;
        }
    }
}
