//! Logs and metrics, the same in all three binaries.

mod ecs;
mod http_metrics;
mod log;
mod metrics;

pub use self::ecs::ECS_VERSION;
pub use self::http_metrics::{HttpMetrics, RouteMetrics};
pub use self::log::{LogConfig, LogFilter, LogFormat, LogGuard, init};
pub use self::metrics::{
    counter, counter_vec, float_gauge, float_gauge_vec, gauge, gauge_vec, histogram, histogram_vec, metrics_reference,
    registry, render,
};
