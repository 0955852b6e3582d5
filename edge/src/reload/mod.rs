//! Hot reload: other settings for a running edge, all at once or not at all.
//!
//! ```text
//! SIGHUP, the file has changed, POST /api/v1/reload
//!   → read and check as at the start ──▶ refused: one line in the log, nothing changes
//!   → compare ──▶ the difference is logged, secrets hidden; what needs a restart keeps its running value
//!   → apply: one page names every part that takes over new settings
//! ```

mod diff;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGauge};
use serde_json::{Value, json};
use shared::telemetry::{counter_vec, gauge};

use self::diff::{Difference, differences, with_running};
pub(crate) use self::watch::watch;
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

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// These settings are in force now; those marked so wait for a restart.
    Applied(Vec<Difference>),
    /// The file says what is in force already.
    Unchanged,
    /// It cannot be used; why, in one line.
    Refused(String),
}

/// What reloading needs, and what came of it last.
#[derive(Debug)]
pub(crate) struct Reloads {
    file: Option<PathBuf>,
    last: Mutex<Option<(SystemTime, Outcome)>>,
    // One at a time.
    turn: tokio::sync::Mutex<()>,
    total: IntCounterVec,
    successful: IntGauge,
}

impl Reloads {
    /// Settings come from `file` and the environment, as at the start.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        let successful = gauge("config_last_reload_successful", "Whether the last reload of the settings succeeded.");
        successful.set(1);
        Self {
            file,
            last: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            total: counter_vec("config_reloads_total", "Reloads of the settings, by what came of them.", &["result"]),
            successful,
        }
    }

    /// The last reload, for `/readyz?verbose`.
    pub(crate) fn report(&self) -> Value {
        match &*self.last.lock() {
            None => json!({ "last_reload": null }),
            Some((at, outcome)) => {
                let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let mut report = outcome.report();
                report["last_reload"] = seconds.into();
                report
            }
        }
    }

    fn note(&self, outcome: &Outcome) {
        self.total.with_label_values(&[outcome.name()]).inc();
        self.successful.set(i64::from(!matches!(outcome, Outcome::Refused(_))));
        *self.last.lock() = Some((SystemTime::now(), outcome.clone()));
    }
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
        }
    }

    /// As JSON.
    pub(crate) fn report(&self) -> Value {
        let mut report = json!({ "result": self.name() });
        match self {
            Self::Applied(differences) => report["changes"] = differences.iter().map(Difference::report).collect(),
            Self::Unchanged => {}
            Self::Refused(reason) => report["error"] = reason.as_str().into(),
        }
        report
    }
}

/// Reads the settings again and applies them; `asked_by` is for the log.
pub(crate) async fn reload(app: &Arc<App>, asked_by: &str) -> Outcome {
    let _turn = app.reloads.turn.lock().await;
    let file = app.reloads.file.clone();
    let loaded = app.behind.spawn_blocking(move || config::load(file.as_deref())).await;
    let outcome = match loaded {
        Ok(Ok(new)) => change(app, &new, asked_by),
        Ok(Err(error)) => Outcome::Refused(error.to_string()),
        Err(error) => Outcome::Refused(format!("reading the settings: {error}")),
    };
    match &outcome {
        Outcome::Refused(reason) => {
            tracing::error!(asked_by, %reason, "the settings stay as they were: the new ones are refused");
        }
        Outcome::Unchanged => tracing::info!(asked_by, "the settings were read again: nothing has changed"),
        Outcome::Applied(_) => {}
    }
    app.reloads.note(&outcome);
    outcome
}

fn change(app: &App, new: &Config, asked_by: &str) -> Outcome {
    let running = Arc::clone(&app.config());
    let differences = match differences(&running, new, &NEEDS_RESTART) {
        Ok(differences) if differences.is_empty() => return Outcome::Unchanged,
        Ok(differences) => differences,
        Err(error) => return Outcome::Refused(error),
    };
    let effective = match with_running(new, &running, &NEEDS_RESTART) {
        Ok(effective) => effective,
        Err(error) => return Outcome::Refused(error),
    };
    // What waits for a restart may be what made the new settings a whole.
    if let Err(error) = effective.check() {
        return Outcome::Refused(format!("{error} (with what needs a restart left as it is)"));
    }
    if let Err(error) = apply(app, effective) {
        return Outcome::Refused(error);
    }
    for Difference { setting, old, new, needs_restart } in &differences {
        if *needs_restart {
            tracing::warn!(asked_by, %setting, %old, %new, "setting not changed: needs a restart");
        } else {
            tracing::info!(asked_by, %setting, %old, %new, "setting changed");
        }
    }
    Outcome::Applied(differences)
}
