//! Sizes of the cache and how long answers stay fresh.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};

use crate::cache::FreshnessPolicy;

/// Sizes of the cache's tiers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheSettings {
    /// Bytes that the memory tier may hold, 800 for each entry among them. Fixed at start.
    pub(crate) memory_bytes_max: ByteSize,
    /// Bytes that the disk tier may hold, whole blocks of files and 512 for each body among them; the least recently used go first.
    pub(crate) disk_bytes_max: ByteSize,
    /// Bytes of the disk tier that are read and hashed again in a second, 4096 for each row among them, in the background, so that what
    /// went bad is found before it is asked for; 0: none.
    pub(crate) scrub_bytes_per_second: ByteSize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            memory_bytes_max: ByteSize::mib(256),
            disk_bytes_max: ByteSize::gib(10),
            scrub_bytes_per_second: ByteSize::mib(4),
        }
    }
}

/// How long answers that may change are served without asking again. Versions' own files never change and have no period. The period of
/// each list and query is shorter by up to 10 %, always the same share for the same one, so that not all are refreshed together.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FreshnessSettings {
    /// Longest time in the memory tier before the disk tier's record is looked at again.
    pub(crate) memory: Period,
    /// Lists and queries of a module that is asked often.
    pub(crate) hot: Period,
    /// Lists and queries of a module that has had no new version for a long time, see `stable_after`.
    pub(crate) stable: Period,
    /// For how long a module must have had no new version to count as stable.
    pub(crate) stable_after: Period,
    /// Lists and queries of any other module.
    pub(crate) other: Period,
    /// Lists and queries while changes do not arrive.
    pub(crate) unhealthy: Period,
    /// A recorded "not found".
    pub(crate) negative: Period,
    /// After its period, an answer is still given for this long while it is refreshed behind.
    pub(crate) stale_while_revalidate: Period,
    /// After its period, an answer is still given for this long while the center cannot be asked.
    pub(crate) stale_if_error: Period,
}

impl Default for FreshnessSettings {
    fn default() -> Self {
        Self {
            memory: Period::secs(30),
            hot: Period::secs(15 * 60),
            stable: Period::secs(72 * 3600),
            stable_after: Period::secs(30 * 24 * 3600),
            other: Period::secs(5 * 60),
            unhealthy: Period::secs(60),
            negative: Period::secs(60),
            stale_while_revalidate: Period::secs(3600),
            stale_if_error: Period::secs(7 * 24 * 3600),
        }
    }
}

impl FreshnessSettings {
    /// The periods as the cache takes them.
    pub(crate) fn policy(&self) -> FreshnessPolicy {
        FreshnessPolicy {
            memory: self.memory.get(),
            hot: self.hot.get(),
            stable: self.stable.get(),
            stable_after: self.stable_after.get(),
            other: self.other.get(),
            unhealthy: self.unhealthy.get(),
            negative: self.negative.get(),
            stale_while_revalidate: self.stale_while_revalidate.get(),
            stale_if_error: self.stale_if_error.get(),
        }
    }
}
