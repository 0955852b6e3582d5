//! The one metrics registry of the process, and the constructors that put metrics into it.
//!
//! The help text given here is the metric's only description: `/metrics` and the generated page both show it. Asking
//! for a metric that exists returns the same one, so a part of a program may be built more than once in a process.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// All metrics of ours begin with this.
const PREFIX: &str = "modtier_";

struct Metrics {
    registry: Registry,
    known: Mutex<BTreeMap<String, Known>>,
}

/// A metric that was registered, kept to return it again and to describe it.
struct Known {
    kind: &'static str,
    help: String,
    labels: Vec<String>,
    metric: Box<dyn Any + Send>,
}

static METRICS: LazyLock<Metrics> =
    LazyLock::new(|| Metrics { registry: Registry::new(), known: Mutex::new(BTreeMap::new()) });

/// The registry: the only global of the program.
pub fn registry() -> &'static Registry {
    &METRICS.registry
}

/// Every metric in Prometheus' text format.
pub fn render() -> String {
    let mut text = Vec::new();
    // Fails only for a family without samples, and gather leaves those out.
    if let Err(error) = TextEncoder::new().encode(&registry().gather(), &mut text) {
        tracing::error!(%error, "the metrics could not be written");
    }
    String::from_utf8(text).unwrap_or_default()
}

/// A Markdown table of every metric registered so far: name, type, labels, meaning.
pub fn metrics_reference() -> String {
    let mut page = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for (name, known) in &*METRICS.known.lock() {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{name}` | {} | {} | {} |", known.kind, known.labels.join(", "), known.help);
    }
    page
}

/// Registers a metric or finds the one that has this name.
///
/// Panics when the name is in use with another type or the name or a label is not one Prometheus takes: names are
/// literals in our source, so any test that builds the metrics finds it.
fn register<M: Collector + Clone + Send + 'static>(
    kind: &'static str,
    name: &str,
    help: &str,
    labels: &[&str],
    build: impl FnOnce(String) -> prometheus::Result<M>,
) -> M {
    let name = format!("{PREFIX}{name}");
    let mut known = METRICS.known.lock();
    if let Some(existing) = known.get(&name) {
        return existing.metric.downcast_ref::<M>().expect("a metric's name is used for one type only").clone();
    }
    let metric = build(name.clone()).expect("metric names and labels are valid literals");
    METRICS.registry.register(Box::new(metric.clone())).expect("a name that is not known yet is not registered");
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    known.insert(name, Known { kind, help: help.to_owned(), labels, metric: Box::new(metric.clone()) });
    metric
}

/// A number that only grows.
pub fn counter(name: &str, help: &str) -> IntCounter {
    register("counter", name, help, &[], |name| IntCounter::new(name, help))
}

/// Numbers that only grow, one for each combination of labels.
pub fn counter_vec(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register("counter", name, help, labels, |name| IntCounterVec::new(Opts::new(name, help), labels))
}

/// A whole number that goes up and down.
pub fn gauge(name: &str, help: &str) -> IntGauge {
    register("gauge", name, help, &[], |name| IntGauge::new(name, help))
}

/// Whole numbers that go up and down, one for each combination of labels.
pub fn gauge_vec(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register("gauge", name, help, labels, |name| IntGaugeVec::new(Opts::new(name, help), labels))
}

/// A number with a fraction that goes up and down, such as seconds.
pub fn float_gauge(name: &str, help: &str) -> Gauge {
    register("gauge", name, help, &[], |name| Gauge::new(name, help))
}

/// Numbers with a fraction that go up and down, one for each combination of labels.
pub fn float_gauge_vec(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register("gauge", name, help, labels, |name| GaugeVec::new(Opts::new(name, help), labels))
}

/// A distribution over `buckets` (upper bounds, ascending).
pub fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    register("histogram", name, help, &[], |name| {
        Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))
    })
}

/// Distributions over `buckets` (upper bounds, ascending), one for each combination of labels.
pub fn histogram_vec(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    register("histogram", name, help, labels, |name| {
        HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_the_prefix_its_help_and_its_value() {
        let metric = counter_vec("sample_total", "Samples that this test took.", &["result"]);
        metric.with_label_values(&["ok"]).inc_by(3);
        let text = render();
        assert!(text.contains("# HELP modtier_sample_total Samples that this test took.\n"), "{text}");
        assert!(text.contains("modtier_sample_total{result=\"ok\"} 3\n"), "{text}");
        assert!(
            metrics_reference()
                .contains("| `modtier_sample_total` | counter | result | Samples that this test took. |")
        );
    }

    #[test]
    fn the_same_name_is_the_same_metric() {
        gauge("sample_twice", "A gauge.").set(4);
        assert_eq!(gauge("sample_twice", "A gauge.").get(), 4);
    }

    #[test]
    #[should_panic(expected = "one type only")]
    fn a_name_of_another_type_is_refused() {
        let _ = gauge("sample_typed", "A gauge.");
        let _ = counter("sample_typed", "A counter.");
    }

    #[test]
    fn histograms_have_the_buckets_asked_for() {
        histogram("sample_seconds", "Seconds.", &[0.1, 1.0]).observe(0.5);
        let text = render();
        assert!(text.contains("modtier_sample_seconds_bucket{le=\"0.1\"} 0\n"), "{text}");
        assert!(text.contains("modtier_sample_seconds_bucket{le=\"1\"} 1\n"), "{text}");
        float_gauge("sample_lag_seconds", "Lag.").set(0.25);
        assert!(render().contains("modtier_sample_lag_seconds 0.25\n"));
    }
}
