//! An edge: what it holds, what it answers, and the replica that is kept in step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::center::{Center, List, MODULES, Version};
use super::link::Link;
use super::{Chance, Diary};
use crate::change::{Change, ChangeId, EventType, Kind};
use crate::sync::reader::{Channel, Followed, Replica, SourceError};

/// How long a list is given without a question, while changes arrive and while they do not: the table's periods.
const PERIOD: Duration = Duration::from_mins(5);
const PERIOD_UNHEALTHY: Duration = Duration::from_mins(1);

/// For how long changes are trusted to arrive when nothing is heard.
const TRUST: Duration = Duration::from_secs(45);

/// How old an answer may be: the table's bound while changes do not arrive, and a moment for the answer itself.
const AGE_MAX: Duration = Duration::from_secs(61);

/// What is on its disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    cursor: ChangeId,
    removed: BTreeSet<Version>,
    held: BTreeSet<Version>,
    lists: BTreeMap<u64, Stored>,
}

#[derive(Debug, Clone)]
struct Stored {
    list: List,
    at: Instant,
    stale: bool,
}

struct State {
    disk: Disk,
    /// How often changes touched a module, and everything: what a fill must notice.
    touched: BTreeMap<u64, u64>,
    resets: u64,
    trusted_until: Option<Instant>,
    channel: Channel,
    judged: u64,
}

/// A running edge; its clones are the same one.
#[derive(Clone)]
pub(super) struct Edge {
    state: Arc<Mutex<State>>,
    center: Arc<Center>,
    link: Link,
    chance: Chance,
    diary: Diary,
}

impl Edge {
    pub(super) fn new(disk: Disk, center: &Arc<Center>, link: Link, chance: &Chance, diary: &Diary) -> Self {
        let state =
            State { disk, touched: BTreeMap::new(), resets: 0, trusted_until: None, channel: Channel::Down, judged: 0 };
        let (state, center) = (Arc::new(Mutex::new(state)), Arc::clone(center));
        Self { state, center, link, chance: chance.clone(), diary: diary.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn disk(&self) -> Disk {
        self.lock().disk.clone()
    }

    pub(super) fn channel(&self) -> Channel {
        self.lock().channel
    }

    pub(super) fn judged(&self) -> u64 {
        self.lock().judged
    }

    /// Clients that ask without pause and judge what they get.
    pub(super) async fn clients(self) {
        loop {
            sleep(Duration::from_millis(50 + self.chance.below(1500))).await;
            let module = self.chance.below(MODULES);
            if self.chance.one_in(2) {
                let (list, is_excused) = self.list(module).await;
                if !is_excused && !self.center.has_said(module, &list, since()) {
                    self.diary.fail(&format!("an edge lists {list:?} of module {module}, {:?}", self.disk()));
                }
            } else {
                let last = self.center.list(module).last().copied().unwrap_or(1);
                let version = (module, 1 + self.chance.below(last + 1));
                let (is_served, is_excused) = self.file(version).await;
                if is_served && !is_excused && !self.center.had(version, since()) {
                    self.diary.fail(&format!("an edge serves {version:?}, {:?}", self.disk()));
                }
            }
            self.lock().judged += 1;
        }
    }

    /// A module's list, and whether it may be old because the center could not be asked.
    pub(super) async fn list(&self, module: u64) -> (List, bool) {
        let (ticket, resets, cursor) = {
            let state = self.lock();
            let period = if state.is_in_touch() { PERIOD } else { PERIOD_UNHEALTHY };
            let stored = state.disk.lists.get(&module);
            if let Some(stored) = stored.filter(|stored| !stored.stale && stored.at.elapsed() < period) {
                return (stored.list.clone(), false);
            }
            (state.touched.get(&module).copied(), state.resets, state.disk.cursor)
        };
        let answered = async {
            self.link.cross().await?;
            // The head first: the list reflects at least that.
            let answer = (self.center.head(), self.center.list(module));
            self.link.cross().await.map(|()| answer)
        };
        let Ok(Ok((head, list))) = timeout(Duration::from_secs(10), answered).await else {
            let held = self.lock().disk.lists.get(&module).map(|stored| stored.list.clone());
            return (held.unwrap_or_default(), true);
        };
        let mut state = self.lock();
        let overtaken = state.touched.get(&module).copied() != ticket || state.resets != resets;
        let is_old = overtaken || (head < cursor && head.epoch == cursor.epoch);
        state.disk.lists.insert(module, Stored { list: list.clone(), at: Instant::now(), stale: is_old });
        (list, false)
    }

    /// Whether a version is served, and whether it may be one that was removed because the edge is out of touch: what is held has no
    /// period, and an edge that goes on after a long stop is asked before it has heard of anything.
    pub(super) async fn file(&self, version: Version) -> (bool, bool) {
        let (began, touched) = {
            let state = self.lock();
            if state.disk.held.contains(&version) {
                return (true, !state.is_in_touch());
            }
            (state.disk.removed.contains(&version), state.touched.get(&version.0).copied())
        };
        let answered = async {
            self.link.cross().await?;
            let there = self.center.is_there(version);
            self.link.cross().await.map(|()| there)
        };
        let Ok(Ok(true)) = timeout(Duration::from_secs(10), answered).await else { return (false, false) };
        let mut state = self.lock();
        let is_removed = state.disk.removed.contains(&version);
        // Removed meanwhile: not stored. Removed before: it is back, as the center has just said.
        if !is_removed || (began && state.touched.get(&version.0).copied() == touched) {
            state.disk.held.insert(version);
        }
        (true, false)
    }

    /// What differs from the center's state, when nothing is under way.
    pub(super) fn differs(&self) -> Option<String> {
        let (disk, manifest) = (self.disk(), self.center.manifest());
        if disk.cursor != manifest.head {
            return Some(format!("the cursor is {}, the head {}", disk.cursor, manifest.head));
        }
        if let Some(version) = disk.held.intersection(&manifest.removed).next() {
            return Some(format!("{version:?} is held and was removed"));
        }
        if let Some(version) = disk.removed.difference(&manifest.removed).next() {
            return Some(format!("{version:?} counts as removed and is there"));
        }
        let wrong =
            disk.lists.iter().find(|(module, stored)| !stored.stale && stored.list != self.center.list(**module));
        wrong.map(|(module, stored)| format!("the list of {module} is {:?}, and counts as fresh", stored.list))
    }
}

fn since() -> Instant {
    let now = Instant::now();
    now.checked_sub(AGE_MAX).unwrap_or(now)
}

impl State {
    fn is_in_touch(&self) -> bool {
        self.trusted_until.is_some_and(|until| Instant::now() < until)
    }

    fn enact(&mut self, change: &Change) {
        let module = change.module_id.parse().ok();
        let version = module.zip(change.version.as_deref().and_then(|version| version.parse().ok()));
        match (change.kind, change.event_type, version) {
            (Kind::Version, EventType::Create, Some(version)) => {
                self.disk.removed.remove(&version);
            }
            (Kind::Version, EventType::Delete, Some(version)) => {
                self.disk.removed.insert(version);
                self.disk.held.remove(&version);
            }
            _ => {}
        }
        for (_, stored) in self.disk.lists.iter_mut().filter(|(at, _)| module.is_none_or(|module| **at == module)) {
            stored.stale = true;
        }
        match module {
            Some(module) => *self.touched.entry(module).or_default() += 1,
            None => self.resets += 1,
        }
    }
}

impl Replica for Edge {
    fn cursor(&self) -> ChangeId {
        self.lock().disk.cursor
    }

    async fn apply(&self, changes: Vec<Change>, channel: Channel) -> Result<(), SourceError> {
        self.chance.latency().await;
        let mut state = self.lock();
        for change in &changes {
            if !change.id.follows(state.disk.cursor) {
                self.diary.fail(&format!("{} came by {channel:?} after {}", change.id, state.disk.cursor));
            }
            state.enact(change);
            state.disk.cursor = change.id;
        }
        Ok(())
    }

    async fn reconcile(&self) -> Result<ChangeId, SourceError> {
        let answered = async {
            self.link.cross().await?;
            let manifest = self.center.manifest();
            self.link.cross().await.map(|()| manifest)
        };
        let answered = timeout(Duration::from_mins(1), answered).await;
        let manifest = answered.map_err(|_| SourceError("late".to_owned()))?.map_err(SourceError)?;
        self.chance.latency().await;
        let mut state = self.lock();
        state.resets += 1;
        state.disk.lists.values_mut().for_each(|stored| stored.stale = true);
        state.disk.held.retain(|version| !manifest.removed.contains(version));
        state.disk.removed = manifest.removed;
        state.disk.cursor = manifest.head;
        Ok(manifest.head)
    }

    fn told(&self, followed: Followed) {
        match followed {
            Followed::Channel(channel) => self.lock().channel = channel,
            Followed::Healthy(is_healthy) => {
                self.lock().trusted_until = is_healthy.then(|| Instant::now() + TRUST);
            }
            Followed::Head(_) | Followed::Cursor(_) | Followed::Gap | Followed::Resync => {}
        }
    }
}
