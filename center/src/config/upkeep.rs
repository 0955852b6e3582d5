//! What the center does by itself, and when.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::Period;

/// Shorter ones would take bodies from commits that are under way.
pub(crate) const GRACE_MIN: Duration = Duration::from_mins(1);

/// What the center does by itself. Of several centers on one database one does it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpkeepSettings {
    /// How often the rules of `retention` are applied; 0s for never.
    pub(crate) retention_interval: Period,
    /// How often bodies are collected that nothing refers to; 0s for never.
    pub(crate) gc_interval: Period,
    /// For how long nothing must have referred to a body before it goes; at least 1m.
    pub(crate) gc_grace: Period,
    /// Whether it is only said in the log what would go.
    pub(crate) dry_run: bool,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        Self {
            retention_interval: Period::secs(24 * 3600),
            gc_interval: Period::secs(24 * 3600),
            gc_grace: Period::secs(3600),
            dry_run: true,
        }
    }
}

impl UpkeepSettings {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.gc_grace.get() < GRACE_MIN {
            return Err("upkeep.gc_grace: must be at least 1m".to_owned());
        }
        Ok(())
    }
}
