//! What a run has shown.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Process;

/// More violations than these tell nothing new.
const VIOLATIONS_SHOWN: usize = 20;

/// Counted by all clients, measured beside them.
#[derive(Debug)]
pub(super) struct Figures {
    begun: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    outcomes: BTreeMap<String, u64>,
    disturbances: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    memory_bytes: u64,
    descriptors: usize,
    requests: u64,
}

/// The edge when nobody asks it anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    pub(super) memory_bytes: u64,
    pub(super) descriptors: usize,
}

impl Default for Figures {
    fn default() -> Self {
        Self { begun: Instant::now(), counts: Mutex::default() }
    }
}

impl Figures {
    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn count(&self, outcome: &str) {
        self.with(|counts| *counts.outcomes.entry(outcome.to_owned()).or_default() += 1);
    }

    pub(super) fn disturbed(&self, by: &'static str) {
        self.with(|counts| *counts.disturbances.entry(by).or_default() += 1);
    }

    pub(super) fn violation(&self, what: String) {
        self.with(|counts| counts.violations.push(what));
    }

    /// Measures four times a second, until dropped.
    pub(super) async fn watch(&self, process: &Process) {
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        loop {
            ticks.tick().await;
            let (memory_bytes, descriptors) = (process.memory_bytes(), process.descriptors());
            self.with(|counts| {
                let requests = counts.outcomes.values().sum();
                counts.samples.push(Sample { at: self.begun.elapsed(), memory_bytes, descriptors, requests });
            });
        }
    }

    pub(super) fn assert_no_violation(&self) {
        let (count, first) = self.with(|counts| {
            (counts.violations.len(), counts.violations.iter().take(VIOLATIONS_SHOWN).cloned().collect::<Vec<_>>())
        });
        assert!(count == 0, "{count} answers were wrong, such as:\n{}", first.join("\n"));
    }

    pub(super) fn print(&self, before: &Rest, after: &Rest) {
        let mib = |bytes: u64| bytes >> 20;
        self.with(|counts| {
            println!(
                "\n| until | requests | memory, median | memory, most | descriptors, most |\n|---|---|---|---|---|"
            );
            for window in counts.samples.chunks(counts.samples.len().div_ceil(10).max(1)) {
                let mut memory: Vec<_> = window.iter().map(|sample| sample.memory_bytes).collect();
                memory.sort_unstable();
                let (first, last) = (window[0], window[window.len() - 1]);
                println!(
                    "| {} s | {} | {} MiB | {} MiB | {} |",
                    last.at.as_secs(),
                    last.requests - first.requests,
                    mib(memory[memory.len() / 2]),
                    mib(memory[memory.len() - 1]),
                    window.iter().map(|sample| sample.descriptors).max().unwrap_or_default(),
                );
            }
            println!("\nanswers: {:?}\ndisturbances: {:?}", counts.outcomes, counts.disturbances);
        });
        println!(
            "at rest: {} MiB and {} descriptors after the warm-up, {} MiB and {} at the end",
            mib(before.memory_bytes),
            before.descriptors,
            mib(after.memory_bytes),
            after.descriptors
        );
    }
}
