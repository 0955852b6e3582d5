//! What was done so far, printed when the test fails.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The entries of one schedule.
pub(crate) struct Diary {
    seed: u64,
    begun: Instant,
    entries: Mutex<Vec<String>>,
}

impl Diary {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, begun: Instant::now(), entries: Mutex::default() }
    }

    pub(crate) fn note(&self, what: &str) {
        let entry = format!("{:7.3} s  {what}", self.begun.elapsed().as_secs_f64());
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() || std::env::var_os("MODTIER_SEED").is_some() {
            eprintln!("---- MODTIER_SEED={}, the schedule so far ----\n{}", self.seed, entries.join("\n"));
        } else if let Some(last) = entries.last() {
            println!("seed {}: {} steps,{last}", self.seed, entries.len());
        }
    }
}
