//! The access log: one line a request on stderr, written behind the requests' backs.
//!
//! A serving thread puts its line into a buffer of its own and goes on; a thread of the log's takes all buffers every
//! tenth of a second, or when one fills up, and writes them. Nothing that stderr does can hold up a request: when it
//! takes nothing, buffers fill and further lines are lost and counted.
//!
//! The filter of the ordinary log holds here as well: the target is `access`, the level is `info`.

mod line;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;
use shared::telemetry::LogFormat;

pub(crate) use self::line::Line;

/// How long a line may wait in its buffer.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// A buffer as long as this is taken at once.
const TAKEN_BYTES: usize = 256 << 10;
/// A buffer grows to this while stderr takes nothing.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long the end of the process waits for a stderr that takes nothing.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// Threads share buffers only where there are more threads than this.
const LANES: usize = 16;

/// The log; ends, with all lines written, when it is dropped.
pub(crate) struct AccessLog(Arc<Shared>);

struct Shared {
    format: LogFormat,
    lanes: [Mutex<Lane>; LANES],
    state: Mutex<State>,
    changed: Condvar,
    lost: IntCounter,
}

/// Lines that wait, and the last timestamp: many lines share a millisecond.
#[derive(Default)]
struct Lane {
    lines: Vec<u8>,
    stamp_ms: u128,
    stamp: String,
}

#[derive(Default)]
struct State {
    full: bool,
    ending: bool,
    ended: bool,
}

impl AccessLog {
    /// Starts the log; `lost` counts lines that were not written.
    pub(crate) fn start(format: LogFormat, lost: IntCounter, sink: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            format,
            lanes: std::array::from_fn(|_| Mutex::default()),
            state: Mutex::default(),
            changed: Condvar::new(),
            lost,
        });
        let writer = Arc::clone(&shared);
        let started = thread::Builder::new().name("edge-access-log".into()).spawn(move || writer.write_until_end(sink));
        if let Err(error) = started {
            tracing::error!(%error, "no thread for the access log: its lines are lost");
            shared.state.lock().ended = true;
        }
        Self(shared)
    }

    /// Whether lines are wanted at all.
    pub(crate) fn is_on() -> bool {
        tracing::enabled!(target: "access", tracing::Level::INFO)
    }

    /// Adds a line. Never waits for whatever takes the lines.
    pub(crate) fn write(&self, line: &Line<'_>) {
        let mut own = self.0.lanes[lane_index()].lock();
        let Lane { lines, stamp_ms, stamp } = &mut *own;
        if lines.len() >= WAITING_BYTES_MAX {
            self.0.lost.inc();
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_millis() != *stamp_ms {
            *stamp_ms = since.as_millis();
            *stamp = humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string();
        }
        let before = lines.len();
        line.append(self.0.format, stamp, lines);
        if before < TAKEN_BYTES && lines.len() >= TAKEN_BYTES {
            drop(own);
            self.0.state.lock().full = true;
            self.0.changed.notify_all();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.ending = true;
        self.0.changed.notify_all();
        let deadline = Instant::now() + END_PATIENCE;
        while !state.ended {
            if self.0.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.0.format).finish_non_exhaustive()
    }
}

impl Shared {
    fn write_until_end(&self, mut sink: impl Write) {
        let mut taken = Vec::new();
        loop {
            let ending = self.wait();
            for lane in &self.lanes {
                std::mem::swap(&mut lane.lock().lines, &mut taken);
                // There is no better place to say that stderr takes nothing than the figure.
                if !taken.is_empty() && sink.write_all(&taken).and_then(|()| sink.flush()).is_err() {
                    self.lost.inc_by(taken.iter().map(|byte| u64::from(*byte == b'\n')).sum());
                }
                taken.clear();
            }
            if ending {
                self.state.lock().ended = true;
                self.changed.notify_all();
                return;
            }
        }
    }

    /// Until it is time to take the buffers; says whether it is the last time.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        let deadline = Instant::now() + FLUSH_EVERY;
        while !state.full && !state.ending {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.full = false;
        state.ending
    }
}

/// This thread's buffer. The number goes round, so threads that start together never share.
fn lane_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static LANE: usize = NEXT.fetch_add(1, Relaxed) % LANES);
    LANE.with(|lane| *lane)
}
