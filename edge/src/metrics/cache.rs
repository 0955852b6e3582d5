//! What the cache holds, and what it went through.

use prometheus::{IntCounter, IntGauge};
use shared::telemetry::{counter, gauge, gauge_vec};

use crate::cache::Stats;

/// Handles on the cache's figures.
#[derive(Debug, Clone)]
pub(crate) struct CacheMetrics {
    evictions: IntCounter,
    damaged: IntCounter,
    scrubbed: IntCounter,
    scrubs: IntCounter,
    resets: IntCounter,
    trouble: IntGauge,
    bytes: prometheus::IntGaugeVec,
    objects: prometheus::IntGaugeVec,
}

impl CacheMetrics {
    pub(super) fn new() -> Self {
        Self {
            evictions: counter("cache_evictions_total", "Entries evicted from disk for space."),
            damaged: counter("cache_damaged_total", "Entries found damaged and removed."),
            scrubbed: counter(
                "cache_scrubbed_bytes_total",
                "Bytes of the disk tier that the background scrub read and hashed.",
            ),
            scrubs: counter("cache_scrubs_total", "Times that the background scrub has read all of the disk tier."),
            resets: counter(
                "cache_index_resets_total",
                "Times that a damaged index was moved aside and the disk tier started empty.",
            ),
            trouble: gauge("cache_disk_trouble", "1 while the disk takes nothing and fills are passed through."),
            bytes: gauge_vec("cache_bytes", "Bytes held, by tier.", &["tier"]),
            objects: gauge_vec("cache_objects", "Objects held, by tier.", &["tier"]),
        }
    }

    /// Takes over what the cache counts itself.
    pub(crate) fn take_over(&self, stats: &Stats) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.bytes.with_label_values(&["memory"]).set(signed(stats.memory_bytes));
        self.bytes.with_label_values(&["disk"]).set(signed(stats.disk_bytes));
        self.objects.with_label_values(&["memory"]).set(signed(stats.memory_objects));
        self.objects.with_label_values(&["disk"]).set(signed(stats.disk_objects));
        self.trouble.set(i64::from(stats.in_trouble));
        // The cache's counts only grow, so the difference is what came since the last look.
        let grow = |counter: &IntCounter, count: u64| counter.inc_by(count.saturating_sub(counter.get()));
        grow(&self.evictions, stats.evictions);
        grow(&self.damaged, stats.damaged);
        grow(&self.scrubbed, stats.scrubbed_bytes);
        grow(&self.scrubs, stats.scrubs);
        grow(&self.resets, stats.resets);
    }
}
