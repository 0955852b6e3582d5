//! Hot reload: other settings for a running server, all at once or not at all.
//!
//! ```text
//! SIGHUP, the file has changed, an administrator asks
//!   → read and check as at the start ──▶ refused: one line in the log, nothing changes
//!   → compare ──▶ the difference is logged, secrets hidden; what needs a restart keeps its running value
//!   → the binary applies what is left
//! ```

mod diff;
mod watch;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGauge};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::diff::Difference;
use self::diff::{differences, with_running};
pub use self::watch::{Stamp, Watch};
use crate::telemetry::{counter_vec, gauge};

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// These settings are in force now; those marked so wait for a restart.
    Applied(Vec<Difference>),
    /// The file says what is in force already.
    Unchanged,
    /// It cannot be used; why, in one line.
    Refused(String),
}

/// Where settings come from, and what came of reading them last.
#[derive(Debug)]
pub struct Reloads {
    file: Option<PathBuf>,
    last: Mutex<Option<(SystemTime, Outcome)>>,
    // One at a time.
    turn: tokio::sync::Mutex<()>,
    total: IntCounterVec,
    successful: IntGauge,
}

impl Reloads {
    /// Settings come from `file` and the environment, as at the start.
    pub fn new(file: Option<PathBuf>) -> Self {
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

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Waits until no other reload is under way, and keeps others from beginning.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The last reload, as JSON.
    pub fn report(&self) -> Value {
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

    /// Counts and logs what a reload came to; `asked_by` is for the log.
    pub fn note(&self, outcome: &Outcome, asked_by: &str) {
        match outcome {
            Outcome::Refused(reason) => {
                tracing::error!(asked_by, %reason, "the settings stay as they were: the new ones are refused");
            }
            Outcome::Unchanged => tracing::info!(asked_by, "the settings were read again: nothing has changed"),
            Outcome::Applied(differences) => {
                for Difference { setting, old, new, needs_restart } in differences {
                    if *needs_restart {
                        tracing::warn!(asked_by, %setting, %old, %new, "setting not changed: needs a restart");
                    } else {
                        tracing::info!(asked_by, %setting, %old, %new, "setting changed");
                    }
                }
            }
        }
        self.total.with_label_values(&[outcome.name()]).inc();
        self.successful.set(i64::from(!matches!(outcome, Outcome::Refused(_))));
        *self.last.lock() = Some((SystemTime::now(), outcome.clone()));
    }
}

impl Outcome {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
        }
    }

    /// As JSON.
    pub fn report(&self) -> Value {
        let mut report = json!({ "result": self.name() });
        match self {
            Self::Applied(differences) => report["changes"] = differences.iter().map(Difference::report).collect(),
            Self::Unchanged => {}
            Self::Refused(reason) => report["error"] = reason.as_str().into(),
        }
        report
    }
}

/// What differs between running and new settings, and the settings that may be put in force: the new ones, but with the running
/// values of those below `fixed`, which wait for a restart. Nothing if nothing differs.
///
/// # Errors
/// When the settings cannot be put together; why, in one line.
pub fn plan<C>(running: &C, new: &C, fixed: &[&str]) -> Result<Option<(C, Vec<Difference>)>, String>
where
    C: Serialize + DeserializeOwned,
{
    let differences = differences(running, new, fixed)?;
    if differences.is_empty() {
        return Ok(None);
    }
    Ok(Some((with_running(new, running, fixed)?, differences)))
}
