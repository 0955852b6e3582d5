//! What one edge still is to be made to hold: deduplicated, in order, with what failed and what was given up. No I/O.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::prewarm::wanted::{Cause, CauseKind, Key, Parts, Wanted};

/// Most causes that are kept of one version.
const CAUSES_MAX: usize = 8;

/// Most versions on the list of the dead; the oldest go.
const DEAD_MAX: usize = 10_000;

/// Most versions that are known to be held; beyond, they are asked for once more.
const HELD_MAX: usize = 400_000;

/// One version that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Which.
    pub(crate) key: Key,
    /// What of it.
    pub(crate) parts: Parts,
    /// Why.
    pub(crate) causes: Vec<Cause>,
    /// How often it has failed.
    pub(crate) tries: u32,
    /// Unix milliseconds before which it is not tried.
    pub(crate) due_ms: u64,
}

impl Job {
    fn kind(&self) -> CauseKind {
        self.causes.iter().map(|cause| cause.kind).min().unwrap_or(CauseKind::Toolchain)
    }

    fn merge(&mut self, other: Self) {
        self.parts = self.parts | other.parts;
        for cause in other.causes {
            if !self.causes.contains(&cause) && self.causes.len() < CAUSES_MAX {
                self.causes.push(cause);
            }
        }
        self.tries = self.tries.max(other.tries);
        self.due_ms = self.due_ms.min(other.due_ms);
    }
}

/// One version that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dead {
    /// What it was.
    pub(crate) job: Job,
    /// Why.
    pub(crate) error: String,
    /// Unix milliseconds.
    pub(crate) at_ms: u64,
}

/// What came of wanting something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Took {
    /// It waits now.
    Added,
    /// It waited already, or is under way.
    Known,
    /// The edge held it when it was last asked.
    Held,
    /// It was given up.
    Dead,
    /// The queue is full.
    Full,
}

/// How often and how far apart something is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Tries in all.
    pub(crate) tries_max: u32,
    /// Before the second try, in milliseconds.
    pub(crate) first_ms: u64,
    /// At most, in milliseconds.
    pub(crate) longest_ms: u64,
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// What is still missing.
    pub(crate) parts: Parts,
    /// Why.
    pub(crate) error: String,
    /// Whether another try would end the same.
    pub(crate) is_final: bool,
}

type Rank = (CauseKind, u64);

/// The queue of one edge.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    waiting: BTreeMap<Rank, Job>,
    ranks: HashMap<Key, Rank>,
    running: HashMap<Key, Job>,
    held: HashMap<Key, Parts>,
    dead: HashMap<Key, Dead>,
    sequence: u64,
}

impl Lane {
    /// Takes in what is wanted, unless that changes nothing.
    pub(crate) fn want(&mut self, wanted: &Wanted, queue_max: usize) -> Took {
        let key = &wanted.key;
        if self.dead.contains_key(key) {
            if !wanted.anew {
                return Took::Dead;
            }
            self.dead.remove(key);
        }
        let mut parts = wanted.parts;
        if wanted.anew {
            self.held.remove(key);
        } else if let Some(held) = self.held.get(key) {
            parts = parts & !*held;
            if parts.is_empty() {
                return Took::Held;
            }
        }
        let under_way = self.running.get(key).map_or(Parts::NONE, |job| job.parts);
        let waiting = self.waiting_job(key).map_or(Parts::NONE, |job| job.parts);
        let is_known = (parts & !(under_way | waiting)).is_empty();
        if is_known && self.waiting_job(key).is_none_or(|job| job.kind() <= wanted.cause.kind) {
            return Took::Known;
        }
        if waiting.is_empty() && self.waiting.len() >= queue_max {
            return Took::Full;
        }
        let causes = vec![wanted.cause.clone()];
        self.insert(Job { key: key.clone(), parts, causes, tries: 0, due_ms: 0 });
        if is_known { Took::Known } else { Took::Added }
    }

    /// Puts a job where it belongs; one of the same version is merged with it.
    pub(crate) fn insert(&mut self, mut job: Job) {
        let mut place = None;
        if let Some(rank) = self.ranks.remove(&job.key)
            && let Some(mut old) = self.waiting.remove(&rank)
        {
            old.merge(job);
            job = old;
            place = Some(rank.1);
        }
        let place = place.unwrap_or_else(|| {
            self.sequence += 1;
            self.sequence
        });
        let rank = (job.kind(), place);
        self.ranks.insert(job.key.clone(), rank);
        self.waiting.insert(rank, job);
    }

    /// The next jobs that are due, of so many artefacts in all (or one job, if it alone has more). They are under way then.
    pub(crate) fn take(&mut self, now_ms: u64, artefacts_max: usize) -> Vec<Job> {
        let mut ranks = Vec::new();
        let mut artefacts = 0;
        for (rank, job) in &self.waiting {
            if job.due_ms > now_ms || self.running.contains_key(&job.key) {
                continue;
            }
            artefacts += job.parts.count();
            if artefacts > artefacts_max && !ranks.is_empty() {
                break;
            }
            ranks.push(*rank);
        }
        let mut taken = Vec::new();
        for job in ranks.iter().filter_map(|rank| self.waiting.remove(rank)) {
            self.ranks.remove(&job.key);
            self.running.insert(job.key.clone(), job.clone());
            taken.push(job);
        }
        taken
    }

    /// Puts back what was taken and could not be tried.
    pub(crate) fn put_back(&mut self, keys: &[Key]) {
        for job in keys.iter().filter_map(|key| self.running.remove(key)).collect::<Vec<_>>() {
            self.insert(job);
        }
    }

    /// The end of a try: the edge holds `got`; `failed` says what it does not. Whether the version was given up.
    pub(crate) fn settle(
        &mut self,
        key: &Key,
        got: Parts,
        failed: Option<Failed>,
        patience: Patience,
        now_ms: u64,
    ) -> bool {
        let Some(mut job) = self.running.remove(key) else { return false };
        if !got.is_empty() {
            if self.held.len() >= HELD_MAX {
                self.held.clear();
            }
            let held = self.held.entry(key.clone()).or_default();
            *held = *held | got;
        }
        let Some(failed) = failed else { return false };
        job.parts = failed.parts;
        job.tries += 1;
        if failed.is_final || job.tries >= patience.tries_max {
            self.bury(Dead { job, error: failed.error, at_ms: now_ms });
            return true;
        }
        let wait = patience.first_ms.saturating_mul(1 << (job.tries - 1).min(30)).min(patience.longest_ms);
        // Between half and all of it, so that many do not come back at once.
        job.due_ms = now_ms + wait - rand::random::<u64>() % (wait / 2 + 1);
        self.insert(job);
        false
    }

    /// Puts something on the list of the dead.
    pub(crate) fn bury(&mut self, dead: Dead) {
        if self.dead.len() >= DEAD_MAX
            && let Some(oldest) = self.dead.values().min_by_key(|dead| dead.at_ms).map(|dead| dead.job.key.clone())
        {
            self.dead.remove(&oldest);
        }
        self.forget_waiting(&dead.job.key);
        self.dead.insert(dead.job.key.clone(), dead);
    }

    /// Tries again what was given up and `chosen` picks; which.
    pub(crate) fn revive(&mut self, chosen: impl Fn(&Dead) -> bool) -> Vec<Key> {
        let keys: Vec<Key> = self.dead.values().filter(|dead| chosen(dead)).map(|dead| dead.job.key.clone()).collect();
        for dead in keys.iter().filter_map(|key| self.dead.remove(key)).collect::<Vec<_>>() {
            self.insert(Job { tries: 0, due_ms: 0, ..dead.job });
        }
        keys
    }

    /// Forgets everything of a version, as the journal says that it is done.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.forget_waiting(key);
        self.dead.remove(key);
    }

    fn forget_waiting(&mut self, key: &Key) {
        if let Some(rank) = self.ranks.remove(key) {
            self.waiting.remove(&rank);
        }
    }

    fn waiting_job(&self, key: &Key) -> Option<&Job> {
        self.waiting.get(self.ranks.get(key)?)
    }

    /// What must be known of a version after a restart: what waits and what is under way.
    pub(crate) fn unfinished(&self, key: &Key) -> Option<Job> {
        match (self.waiting_job(key), self.running.get(key)) {
            (None, None) => None,
            (Some(job), None) | (None, Some(job)) => Some(job.clone()),
            (Some(waiting), Some(running)) => {
                let mut job = waiting.clone();
                job.merge(running.clone());
                Some(job)
            }
        }
    }

    /// All that waits or is under way.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.ranks.keys().chain(self.running.keys().filter(|key| !self.ranks.contains_key(key)))
    }

    /// What was given up.
    pub(crate) fn dead(&self) -> impl Iterator<Item = &Dead> {
        self.dead.values()
    }

    /// Whether this version was given up.
    pub(crate) fn dead_of(&self, key: &Key) -> Option<&Dead> {
        self.dead.get(key)
    }

    /// How many versions wait or are under way.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    /// How many artefacts that are.
    pub(crate) fn artefacts(&self) -> usize {
        self.keys().filter_map(|key| self.unfinished(key)).map(|job| job.parts.count()).sum()
    }

    /// Whether nothing is left to do, now or later.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Unix milliseconds when the next job is due.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.waiting.values().filter(|job| !self.running.contains_key(&job.key)).map(|job| job.due_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { tries_max: 3, first_ms: 1000, longest_ms: 1500 };

    fn wanted(name: &str, parts: Parts, kind: CauseKind) -> Wanted {
        let key = format!("example.com/{name}@v1.0.0").parse().unwrap();
        Wanted { key, parts, cause: Cause::new(kind, "test"), anew: false }
    }

    fn names(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.key.module.as_str().trim_start_matches("example.com/")).collect()
    }

    #[test]
    fn projects_go_before_lists_and_nothing_is_taken_twice() {
        let mut lane = Lane::default();
        assert_eq!(lane.want(&wanted("a", Parts::ALL, CauseKind::List), 10), Took::Added);
        assert_eq!(lane.want(&wanted("b", Parts::GRAPH, CauseKind::Project), 10), Took::Added);
        assert_eq!(lane.want(&wanted("b", Parts::MOD, CauseKind::List), 10), Took::Known);
        assert_eq!(lane.want(&wanted("c", Parts::ALL, CauseKind::Hot), 10), Took::Added);
        assert_eq!(lane.want(&wanted("c", Parts::ALL, CauseKind::Project), 10), Took::Known, "it only moves up");
        let jobs = lane.take(0, 5);
        assert_eq!(names(&jobs), ["b", "c"], "five artefacts at most");
        assert_eq!(names(&lane.take(0, 1)), ["a"], "one job, although it has more");
        assert_eq!(lane.take(0, 10), []);
        assert_eq!(lane.want(&wanted("b", Parts::MOD, CauseKind::Project), 10), Took::Known, "it is under way");
        for job in &jobs {
            assert!(!lane.settle(&job.key, job.parts, None, PATIENCE, 0));
        }
        assert_eq!(lane.want(&wanted("b", Parts::GRAPH, CauseKind::Project), 10), Took::Held);
        assert_eq!(lane.want(&wanted("b", Parts::ALL, CauseKind::Project), 10), Took::Added);
        assert_eq!(lane.take(0, 10)[0].parts, Parts::ZIP, "only what is not held");
        let again = Wanted { anew: true, ..wanted("c", Parts::ALL, CauseKind::Project) };
        assert_eq!(lane.want(&again, 10), Took::Added);
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut lane = Lane::default();
        assert_eq!(lane.want(&wanted("a", Parts::MOD, CauseKind::List), 1), Took::Added);
        assert_eq!(lane.want(&wanted("b", Parts::MOD, CauseKind::List), 1), Took::Full);
        assert_eq!(lane.want(&wanted("a", Parts::ALL, CauseKind::List), 1), Took::Added, "it has its place");
    }

    #[test]
    fn failures_wait_longer_each_time_and_then_it_is_given_up() {
        let mut lane = Lane::default();
        lane.want(&wanted("a", Parts::ALL, CauseKind::List), 10);
        let failed = |is_final| Some(Failed { parts: Parts::ZIP, error: "broken".into(), is_final });
        let mut now = 0;
        for (round, most) in [(1, 1000), (2, 1500)] {
            let jobs = lane.take(now, 10);
            assert!(!lane.settle(&jobs[0].key, Parts::GRAPH, failed(false), PATIENCE, now));
            let due = lane.next_due_ms().unwrap();
            assert!((now + most / 2..=now + most).contains(&due), "round {round}: {due}");
            assert!(lane.take(due - 1, 10).is_empty());
            now = due;
        }
        let job = lane.take(now, 10).remove(0);
        assert_eq!((job.parts, job.tries), (Parts::ZIP, 2), "what came is not asked for again");
        assert!(lane.settle(&job.key, Parts::NONE, failed(false), PATIENCE, now));
        assert!(lane.is_idle());
        assert_eq!(lane.want(&wanted("a", Parts::ALL, CauseKind::List), 10), Took::Dead);
        assert_eq!(lane.revive(|dead| dead.error == "broken").len(), 1);
        let job = lane.take(now, 10).remove(0);
        assert_eq!((job.parts, job.tries), (Parts::ZIP, 0));
        assert!(lane.settle(&job.key, Parts::NONE, failed(true), PATIENCE, now), "it will not get better");
    }

    #[test]
    fn what_is_under_way_is_unfinished() {
        let mut lane = Lane::default();
        lane.want(&wanted("a", Parts::GRAPH, CauseKind::List), 10);
        let job = lane.take(0, 10).remove(0);
        lane.want(&wanted("a", Parts::ALL, CauseKind::List), 10);
        assert_eq!(lane.take(0, 10), [], "one try of a version at a time");
        assert_eq!(lane.unfinished(&job.key).unwrap().parts, Parts::ALL);
        lane.put_back(std::slice::from_ref(&job.key));
        assert_eq!((lane.len(), lane.keys().count()), (1, 1));
        assert_eq!(lane.take(0, 10)[0].parts, Parts::ALL);
    }
}
