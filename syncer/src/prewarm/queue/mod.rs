//! The one queue of pre-warming: a lane for each edge, a journal on disk, and a log.
//!
//! ```text
//! sources ──want──▶ lane of each edge ──take──▶ caller ──▶ the edge fetches what it lacks
//!                     │  ▲                        │
//!                  journal └── put back, retry ◀── settle ──▶ held · failed · dead, each a line of the log
//! ```

mod journal;
mod lane;
mod letters;
mod log;
mod settled;
mod state;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use shared::progress::Progress;
use tokio::sync::watch;

use self::journal::Journal;
pub(crate) use self::lane::{Dead, Job};
use self::lane::{Lane, Patience, Took};
use self::letters::requests;
pub(crate) use self::letters::{dead_letters, request_retry};
use self::log::Log;
pub(crate) use self::log::{Line, Search, search};
use self::settled::Settled;
use self::state::{State, apply};
use super::limits::Limits;
use super::metrics::PrewarmMetrics;
use super::settings::PrewarmSettings;
use super::summary::{Summary, Tally};
use super::target::Outcome;
use super::wanted::{Key, Wanted};

/// The journal's name in the folder of the state.
const JOURNAL: &str = "prewarm.journal";

/// Held by who writes to the folder.
const LOCK: &str = "prewarm.lock";

/// Requests to try again what was given up: files of this folder, each a search.
const RETRY: &str = "retry";

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The folder or a file in it.
    #[error("prewarm.state_dir {}: {source}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("prewarm.state_dir {}: another syncer uses it", .0.display())]
    Locked(PathBuf),
}

/// What a look at a lane found.
#[derive(Debug, Default)]
enum Look {
    /// These are under way now.
    Jobs(Vec<Job>),
    /// Nothing for so long, or until something changes.
    Wait(Option<Duration>),
    /// Nothing is left to do.
    #[default]
    Nothing,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Held while the disk is waited for: it is never locked on a thread of the runtime.
    state: Mutex<State>,
    /// Requests to try again that cannot be read, and that this was said of.
    unreadable: Mutex<HashSet<PathBuf>>,
    /// Counts what may give a caller something to do.
    changed: watch::Sender<u64>,
    folder: Option<PathBuf>,
    waiting_max: usize,
    patience: Patience,
    metrics: PrewarmMetrics,
    progress: OnceLock<Progress>,
    _lock: Option<File>,
}

impl Queue {
    /// A queue for these edges that ends with the process.
    pub(crate) fn in_memory(edges: &[String], settings: &PrewarmSettings, metrics: PrewarmMetrics) -> Arc<Self> {
        let state = State::new(edges, settings, Journal::default(), Log::default());
        Arc::new(Self::with(state, settings, metrics, None))
    }

    /// The queue in the folder of the state, as far as an earlier process has come.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it.
    pub(crate) fn open(
        edges: &[String],
        settings: &PrewarmSettings,
        metrics: PrewarmMetrics,
    ) -> Result<Arc<Self>, StateError> {
        let folder = &settings.state_dir;
        let failed = |source| StateError::Io { folder: folder.clone(), source };
        std::fs::create_dir_all(folder.join(RETRY)).map_err(failed)?;
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => StateError::Locked(folder.clone()),
            std::fs::TryLockError::Error(source) => failed(source),
        })?;
        let log = Log::open(folder).map_err(failed)?;
        let mut state = State::new(edges, settings, Journal::default(), log);
        state.journal =
            Journal::open(&folder.join(JOURNAL), |record| apply(&mut state.lanes, &mut state.spent, record))
                .map_err(failed)?;
        for (edge, limits) in &mut state.limits {
            *limits = Limits::new(settings, state.spent.get(edge).copied().unwrap_or_default());
        }
        state.rewrite().map_err(failed)?;
        Ok(Arc::new(Self::with(state, settings, metrics, Some(lock))))
    }

    fn with(state: State, settings: &PrewarmSettings, metrics: PrewarmMetrics, lock: Option<File>) -> Self {
        let queue = Self {
            state: Mutex::new(state),
            unreadable: Mutex::default(),
            changed: watch::channel(0).0,
            folder: lock.is_some().then(|| settings.state_dir.clone()),
            waiting_max: settings.queue_max,
            patience: Patience {
                tries_max: settings.tries_max,
                first_ms: millis(settings.retry_first.get()),
                longest_ms: millis(settings.retry_longest.get()),
            },
            metrics,
            progress: OnceLock::new(),
            _lock: lock,
        };
        queue.show(&queue.state.lock());
        queue
    }

    /// Takes in what is wanted at every edge; how many versions were new to one of them.
    pub(crate) async fn want(self: &Arc<Self>, wanted: Vec<Wanted>) -> usize {
        self.apart(move |queue| queue.want_now(&wanted)).await
    }

    fn want_now(&self, wanted: &[Wanted]) -> usize {
        let mut state = self.state.lock();
        let (mut added, mut refused, mut records) = (0, 0, Vec::new());
        for (edge, lane) in &mut state.lanes {
            for wanted in wanted {
                match lane.want(wanted, self.waiting_max) {
                    Took::Added => {
                        added += 1;
                        records.push((edge.clone(), wanted.key.clone()));
                    }
                    Took::Full => refused += 1,
                    Took::Known | Took::Held | Took::Dead => {}
                }
            }
        }
        if refused > 0 {
            tracing::warn!(refused, "the queue of pre-warming is full");
            self.metrics.refused.inc_by(refused);
        }
        keep(&mut state, &records);
        self.show(&state);
        drop(state);
        self.wake();
        added
    }

    /// Waits until something of this edge is due and its limits allow it; then what, of at most so many artefacts. None: nothing
    /// is left to do, which is only said if `until_idle`; nor are limits waited for then that last longer than a minute.
    pub(crate) async fn take(self: &Arc<Self>, edge: &str, artefacts_max: usize, until_idle: bool) -> Option<Vec<Job>> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let name = edge.to_owned();
            let wait = match self.apart(move |queue| queue.look(&name, artefacts_max, until_idle)).await {
                Look::Jobs(jobs) => return Some(jobs),
                Look::Nothing => return None,
                Look::Wait(wait) => wait,
            };
            let timer = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                _ = changed.changed() => {}
            }
        }
    }

    fn look(&self, edge: &str, artefacts_max: usize, until_idle: bool) -> Look {
        let now = SystemTime::now();
        let mut state = self.state.lock();
        let State { lanes, limits, .. } = &mut *state;
        let (Some(lane), Some(limits)) = (lanes.get_mut(edge), limits.get_mut(edge)) else { return Look::Nothing };
        match limits.wait(now) {
            Some(wait) if until_idle && wait > Duration::from_mins(1) => return Look::Nothing,
            Some(wait) if lane.len() > 0 => return Look::Wait(Some(wait)),
            _ => {}
        }
        let jobs = lane.take(unix_ms(now), artefacts_max.min(limits.artefacts_max()));
        if !jobs.is_empty() {
            limits.reserve(now, artefacts_of(&jobs));
            return Look::Jobs(jobs);
        }
        if until_idle && lane.is_idle() {
            return Look::Nothing;
        }
        let wait = |due: u64| Duration::from_millis(due.saturating_sub(unix_ms(now)).max(1));
        Look::Wait(lane.next_due_ms().map(wait))
    }

    /// The edge cannot be asked: its jobs wait again, and that was no try.
    pub(crate) async fn put_back(self: &Arc<Self>, edge: &str, jobs: Vec<Job>) {
        let edge = edge.to_owned();
        self.apart(move |queue| queue.put_back_now(&edge, &jobs)).await;
    }

    fn put_back_now(&self, edge: &str, jobs: &[Job]) {
        let keys: Vec<Key> = jobs.iter().map(|job| job.key.clone()).collect();
        let mut state = self.state.lock();
        if let Some(lane) = state.lanes.get_mut(edge) {
            lane.put_back(&keys);
        }
        if let Some(limits) = state.limits.get_mut(edge) {
            limits.charge(SystemTime::now(), artefacts_of(jobs), 0, 0);
        }
        drop(state);
        self.wake();
    }

    /// What came of jobs.
    pub(crate) async fn settle(self: &Arc<Self>, edge: &str, jobs: Vec<Job>, outcomes: Vec<Vec<Outcome>>) {
        let edge = edge.to_owned();
        self.apart(move |queue| queue.settle_now(&edge, &jobs, outcomes)).await;
    }

    fn settle_now(&self, edge: &str, jobs: &[Job], outcomes: Vec<Vec<Outcome>>) {
        let now = SystemTime::now();
        let mut state = self.state.lock();
        let (mut filled, mut bytes, mut lines) = (0, 0, Vec::new());
        for (job, mut outcomes) in jobs.iter().zip(outcomes) {
            for (part, outcome) in &mut outcomes {
                state.compare(edge, &job.key, *part, outcome);
            }
            let settled = Settled::of(&outcomes);
            let is_dead = state.lanes.get_mut(edge).is_some_and(|lane| {
                lane.settle(&job.key, settled.got, settled.failed.clone(), self.patience, unix_ms(now))
            });
            (filled, bytes) = (filled + settled.tally.filled, bytes + settled.tally.filled_bytes);
            state.summary.add(settled.tally, if is_dead { settled.failed_count() } else { 0 });
            self.metrics.count(edge, settled.tally, settled.failed_count(), is_dead);
            self.tell(job, &settled, is_dead);
            lines.extend(settled.lines(edge, job, is_dead, now));
        }
        let spent = state.limits.get_mut(edge).map(|limits| limits.charge(now, artefacts_of(jobs), filled, bytes));
        if let Some(spent) = spent {
            state.spent.insert(edge.to_owned(), spent);
        }
        if let Err(error) = state.log.write(&lines) {
            tracing::warn!(%error, "the log of pre-warming cannot be written");
        }
        let changed: Vec<_> = jobs.iter().map(|job| (edge.to_owned(), job.key.clone())).collect();
        keep(&mut state, &changed);
        self.show(&state);
        drop(state);
        self.wake();
    }

    /// Says on the terminal what came of a job, where somebody watches.
    fn tell(&self, job: &Job, settled: &Settled, is_dead: bool) {
        let Some(progress) = self.progress.get() else { return };
        if let Some(failed) = settled.failed.as_ref().filter(|_| is_dead) {
            progress.line(&format!("failed: {} {}", job.key, failed.error));
        }
        let done = settled.got.count() + if is_dead { settled.failed_count() } else { 0 };
        (0..done).for_each(|_| progress.step());
    }

    /// Tries again what was given up and the search finds, at every edge; how many.
    pub(crate) async fn revive(self: &Arc<Self>, search: Search) -> usize {
        self.apart(move |queue| {
            let mut state = queue.state.lock();
            let mut revived = Vec::new();
            for (edge, lane) in &mut state.lanes {
                let keys = lane.revive(|dead| search.finds(&dead.job.key, &dead.job.causes));
                revived.extend(keys.into_iter().map(|key| (edge.clone(), key)));
            }
            keep(&mut state, &revived);
            queue.show(&state);
            drop(state);
            queue.wake();
            revived.len()
        })
        .await
    }

    /// Follows what `retry` asks for, once; how many versions are tried again.
    pub(crate) async fn follow_requests(self: &Arc<Self>) -> usize {
        let Some(folder) = self.folder.clone() else { return 0 };
        let mut revived = 0;
        let found = self.apart(move |queue| requests(&folder.join(RETRY), &mut queue.unreadable.lock())).await;
        for (path, search) in found {
            revived += self.revive(search).await;
            // Should it stay, it is followed once more.
            let _ = std::fs::remove_file(path);
        }
        revived
    }

    /// What was done so far, with what is still to be done as failures of an edge that was given up.
    pub(crate) async fn summary(self: &Arc<Self>) -> Summary {
        self.apart(|queue| {
            let state = queue.state.lock();
            let mut summary = state.summary;
            for lane in state.lanes.values() {
                summary.add(Tally::default(), lane.artefacts());
            }
            summary
        })
        .await
    }

    /// From now on shows how far it is with what waits.
    pub(crate) async fn show_progress(self: &Arc<Self>) {
        let total: usize = self.apart(|queue| queue.state.lock().lanes.values().map(Lane::artefacts).sum()).await;
        // Who shows it already goes on.
        let _ = self.progress.set(Progress::start(total, "artefacts"));
    }

    /// The progress is at its end.
    pub(crate) fn finish(&self) {
        if let Some(progress) = self.progress.get() {
            progress.finish();
        }
    }

    fn show(&self, state: &State) {
        for (edge, lane) in &state.lanes {
            self.metrics.show(edge, lane.len(), lane.dead().count());
        }
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Work that waits for the disk.
    async fn apart<T: Default + Send + 'static>(self: &Arc<Self>, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let queue = Arc::clone(self);
        // It fails only while the runtime ends.
        tokio::task::spawn_blocking(move || work(&queue)).await.unwrap_or_default()
    }
}

/// Writes down how these versions are now; should that fail, the queue goes on in memory.
fn keep(state: &mut State, changed: &[(String, Key)]) {
    let kept = state.journal_changes(changed);
    let kept = kept.and_then(|()| if state.journal.is_long() { state.rewrite() } else { Ok(()) });
    if let Err(error) = kept {
        tracing::error!(%error, "the journal of pre-warming cannot be written: what waits would not outlast a restart");
    }
}

fn artefacts_of(jobs: &[Job]) -> usize {
    jobs.iter().map(|job| job.parts.count()).sum()
}

fn unix_ms(at: SystemTime) -> u64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
