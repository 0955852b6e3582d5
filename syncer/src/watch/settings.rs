//! The settings of watching upstream: one group, `watch`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::Period;

/// Looking for new versions of the modules that are asked for most.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WatchSettings {
    /// How many modules are watched; 0: none.
    pub(crate) modules: usize,
    /// A module is watched once it has been asked for so often lately, by all edges together.
    pub(crate) requests_min: u64,
    /// Between two looks at a module that changes often.
    pub(crate) interval_min: Period,
    /// Between two looks at a module that does not change.
    pub(crate) interval_max: Period,
    /// Modules that each upstream is asked for in a minute at most.
    pub(crate) rate_per_minute: u32,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            modules: 100,
            requests_min: 10,
            interval_min: Period::secs(60),
            interval_max: Period::secs(3600),
            rate_per_minute: 60,
        }
    }
}

impl WatchSettings {
    /// What the types cannot say; the answer names the setting.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.interval_min.get().is_zero() || self.interval_max < self.interval_min {
            return Err("watch.interval_min: must be above 0 and not above watch.interval_max".to_owned());
        }
        if self.rate_per_minute == 0 {
            return Err("watch.rate_per_minute: must be above 0; watch.modules: 0 turns watching off".to_owned());
        }
        Ok(())
    }
}
