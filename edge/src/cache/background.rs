//! What runs behind the hits: one thread sweeps ([`super::evict`]), one scrubs ([`super::scrub`]).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::CacheError;
use super::store::Store;

const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Wakes and ends what runs behind.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Default)]
struct Wanted {
    sweep: bool,
    end: bool,
}

impl Signal {
    /// Sweep soon.
    pub(super) fn wake(&self) {
        self.state.lock().sweep = true;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state.lock().end = true;
        self.changed.notify_all();
    }

    fn begin_again(&self) {
        self.state.lock().end = false;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().end
    }

    /// Waits for so long; `false` when there is to be nothing any more.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !time.is_zero() {
            self.changed.wait_while_for(&mut state, |state| !state.end, time);
        }
        !state.end
    }

    /// Waits until a sweep is due; `false` when there is to be none any more.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        if !state.sweep && !state.end {
            self.changed.wait_for(&mut state, SWEEP_EVERY);
        }
        state.sweep = false;
        !state.end
    }
}

/// The threads of the sweep and of the scrub.
pub(super) struct Background {
    signal: Arc<Signal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Background {
    pub(super) fn start(store: &Arc<Store>) -> Result<Self, CacheError> {
        let this = Self { signal: Arc::clone(&store.signal), threads: Mutex::default() };
        this.begin(store)?;
        Ok(this)
    }

    /// Runs them again after [`Background::end`].
    pub(super) fn begin(&self, store: &Arc<Store>) -> Result<(), CacheError> {
        self.signal.begin_again();
        let sweeping = Arc::clone(store);
        self.run("cache-sweep", move || {
            report(sweeping.reclaim(), "reclaiming");
            while sweeping.signal.wait() {
                report(sweeping.sweep(), "sweeping");
            }
        })?;
        let scrubbing = Arc::clone(store);
        self.run("cache-scrub", move || scrubbing.scrub())
    }

    fn run(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), CacheError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.map_err(|error| CacheError::Storage(format!("no thread {name}: {error}")))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Ends both and waits until they have ended.
    pub(super) fn end(&self) {
        self.signal.end();
        for thread in self.threads.lock().drain(..) {
            // One that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

fn report(done: Result<(), CacheError>, what: &str) {
    if let Err(error) = done {
        tracing::warn!(%error, "{what} the cache");
    }
}
