//! The center: what is there, the log that tells of it, and what it said when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::link::Link;
use super::watched::Watched;
use crate::change::{Change, ChangeId, EventType, Kind, anything_changed};
use crate::sync::log::{Log, LogError, Page};

/// How many modules there are.
pub(super) const MODULES: u64 = 3;

/// A module and one of its versions.
pub(super) type Version = (u64, u64);

/// Versions of a module.
pub(super) type List = BTreeSet<u64>;

/// The center's disk.
pub(super) struct Center {
    inner: Mutex<Inner>,
    moved: Watched<u64>,
}

struct Inner {
    epoch: u64,
    /// The oldest record that is kept.
    first: u64,
    records: Vec<Change>,
    there: BTreeMap<Version, bool>,
    /// The lists that each module had, and since when.
    said: BTreeMap<u64, Vec<(Instant, List)>>,
}

/// Everything that is there, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) head: ChangeId,
    pub(super) removed: BTreeSet<Version>,
}

impl Inner {
    fn head(&self) -> ChangeId {
        ChangeId { epoch: self.epoch, seq: self.records.len() as u64 }
    }

    fn list(&self, module: u64) -> List {
        let versions = self.there.range((module, 0)..(module + 1, 0));
        versions.filter(|(_, there)| **there).map(|((_, version), _)| *version).collect()
    }

    fn record(&mut self, (module, version): Version, event_type: EventType, kind: Kind) {
        let id = self.head().next();
        self.records.push(Change {
            event_type,
            kind,
            module_id: module.to_string(),
            version: (kind == Kind::Version).then(|| version.to_string()),
            ..anything_changed(id, "r")
        });
        let list = self.list(module);
        self.said.entry(module).or_default().push((Instant::now(), list));
    }
}

impl Center {
    pub(super) fn new() -> Self {
        let said = (0..MODULES).map(|module| (module, vec![(Instant::now(), List::new())])).collect();
        let inner = Inner { epoch: 1000, first: 1, records: Vec::new(), there: BTreeMap::new(), said };
        Self { inner: Mutex::new(inner), moved: Watched::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new version.
    pub(super) fn publish(&self, module: u64) {
        let mut inner = self.lock();
        let last = inner.there.range((module, 0)..(module + 1, 0)).next_back().map_or(0, |((_, version), _)| *version);
        inner.there.insert((module, last + 1), true);
        inner.record((module, last + 1), EventType::Create, Kind::Version);
        self.moved.count();
    }

    /// Removes a version, or brings it back.
    pub(super) fn toggle(&self, version: Version) {
        let mut inner = self.lock();
        let Some(there) = inner.there.get_mut(&version) else { return };
        *there = !*there;
        let event = if *there { EventType::Create } else { EventType::Delete };
        inner.record(version, event, Kind::Version);
        self.moved.count();
    }

    /// A record that says no more than that something is another one.
    pub(super) fn refresh(&self, module: u64) {
        self.lock().record((module, 0), EventType::Update, Kind::List);
        self.moved.count();
    }

    /// The log begins anew, as after a restored backup.
    pub(super) fn new_log(&self) {
        let mut inner = self.lock();
        inner.epoch += 1000;
        (inner.first, inner.records) = (1, Vec::new());
        self.moved.count();
    }

    /// All but the newest records go.
    pub(super) fn trim(&self, kept: u64) {
        let mut inner = self.lock();
        inner.first = inner.first.max((inner.records.len() as u64 + 1).saturating_sub(kept).max(1));
    }

    pub(super) fn head(&self) -> ChangeId {
        self.lock().head()
    }

    /// Whether the log keeps a record after one and before another.
    pub(super) fn keeps_between(&self, last: ChangeId, next: ChangeId) -> bool {
        let inner = self.lock();
        let after = if last.epoch == inner.epoch { last.seq + 1 } else { 1 };
        next.epoch == inner.epoch && after.max(inner.first) < next.seq
    }

    pub(super) fn list(&self, module: u64) -> List {
        self.lock().list(module)
    }

    pub(super) fn is_there(&self, version: Version) -> bool {
        self.lock().there.get(&version).copied().unwrap_or_default()
    }

    /// Every version that ever was.
    pub(super) fn versions(&self) -> Vec<Version> {
        self.lock().there.keys().copied().collect()
    }

    pub(super) fn manifest(&self) -> Manifest {
        let inner = self.lock();
        let removed = inner.there.iter().filter(|(_, there)| !**there).map(|(version, _)| *version).collect();
        Manifest { head: inner.head(), removed }
    }

    /// Whether the module had this list at some moment since `since`.
    pub(super) fn has_said(&self, module: u64, list: &List, since: Instant) -> bool {
        self.lists_since(module, since, |said| said == list)
    }

    /// Whether a version was there at some moment since `since`.
    pub(super) fn had(&self, (module, version): Version, since: Instant) -> bool {
        self.lists_since(module, since, |said| said.contains(&version))
    }

    fn lists_since(&self, module: u64, since: Instant, is_it: impl Fn(&List) -> bool) -> bool {
        let inner = self.lock();
        let said = &inner.said[&module];
        // The one that was the list at that moment, and all after it.
        let first = said.iter().rposition(|(at, _)| *at <= since).unwrap_or_default();
        said[first..].iter().any(|(_, list)| is_it(list))
    }

    fn read(&self, after: ChangeId, limit: usize) -> Result<Page, LogError> {
        let inner = self.lock();
        let head = inner.head();
        let after = match after {
            ChangeId::ZERO => inner.first - 1,
            after if after.epoch == head.epoch && after.seq <= head.seq && after.seq + 1 >= inner.first => after.seq,
            after => return Err(LogError::Gone(after)),
        };
        let after = usize::try_from(after).unwrap();
        let changes = inner.records[after..].iter().take(limit).cloned().collect();
        Ok(Page { changes, head })
    }
}

/// The center's feed, as one other machine reads it.
#[derive(Clone)]
pub(super) struct Feed {
    pub(super) center: Arc<Center>,
    pub(super) link: Link,
    /// How much longer than its long poll an answer may take.
    pub(super) slack: Duration,
}

impl Feed {
    async fn ask(&self, after: ChangeId, wait: Duration, limit: usize) -> Result<Page, LogError> {
        let cross = async || self.link.cross().await.map_err(LogError::Unavailable);
        cross().await?;
        let moved = self.center.moved.get();
        let mut page = self.center.read(after, limit)?;
        if page.changes.is_empty() && !wait.is_zero() {
            let _ = timeout(wait, self.center.moved.wait_for(|now| now != moved)).await;
            page = self.center.read(after, limit)?;
        }
        cross().await?;
        Ok(page)
    }
}

impl Log for Feed {
    async fn page(&self, after: ChangeId, wait: Duration, limit: usize) -> Result<Page, LogError> {
        let asked = timeout(wait + self.slack, self.ask(after, wait, limit)).await;
        asked.unwrap_or_else(|_| Err(LogError::Unavailable("no answer in time".to_owned())))
    }
}
