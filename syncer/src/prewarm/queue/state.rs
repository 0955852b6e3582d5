//! The lanes of all edges, and how they are written down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use shared::digest::Digest;

use super::journal::{Journal, Record};
use super::lane::Lane;
use super::log::Log;
use crate::prewarm::limits::Limits;
use crate::prewarm::settings::PrewarmSettings;
use crate::prewarm::summary::Summary;
use crate::prewarm::target::{Failure, Got};
use crate::prewarm::wanted::{Key, Parts};

/// Most digests that are remembered, to see that all edges hold the same.
const DIGESTS_MAX: usize = 400_000;

/// All that changes.
#[derive(Debug)]
pub(super) struct State {
    /// By edge.
    pub(super) lanes: BTreeMap<String, Lane>,
    /// By edge.
    pub(super) limits: BTreeMap<String, Limits>,
    /// By edge: the day, and the bytes of it.
    pub(super) spent: BTreeMap<String, (u64, u64)>,
    /// On disk.
    pub(super) journal: Journal,
    /// On disk.
    pub(super) log: Log,
    /// What the first edge holds that was asked, and which it is.
    pub(super) digests: HashMap<(Key, Parts), (Digest, String)>,
    /// Of this process.
    pub(super) summary: Summary,
}

impl State {
    /// Empty lanes.
    pub(super) fn new(edges: &[String], settings: &PrewarmSettings, journal: Journal, log: Log) -> Self {
        Self {
            lanes: edges.iter().map(|edge| (edge.clone(), Lane::default())).collect(),
            limits: edges.iter().map(|edge| (edge.clone(), Limits::new(settings, (0, 0)))).collect(),
            spent: BTreeMap::new(),
            journal,
            log,
            digests: HashMap::new(),
            summary: Summary::default(),
        }
    }

    /// Every edge must hold the same bytes of a version; one that holds others is not warm. It is asked again: the first may be
    /// the one that is wrong, and once it says something else, that counts.
    pub(super) fn compare(&mut self, edge: &str, key: &Key, part: Parts, outcome: &mut Result<Got, Failure>) {
        let Ok(Got { sha256: Some(digest), .. }) = outcome else { return };
        if self.digests.len() >= DIGESTS_MAX {
            self.digests.clear();
        }
        let (first, of) = self.digests.entry((key.clone(), part)).or_insert_with(|| (*digest, edge.to_owned()));
        if of == edge {
            *first = *digest;
        } else if first != digest {
            let reason = format!("it holds {} and {of} holds {}", digest.hex(), first.hex());
            *outcome = Err(Failure { reason, is_final: false });
        }
    }

    /// Writes down how these versions are now.
    pub(super) fn journal_changes(&mut self, changed: &[(String, Key)]) -> io::Result<()> {
        let mut records: Vec<Record> = changed.iter().filter_map(|(edge, key)| self.record(edge, key)).collect();
        let edges: BTreeSet<&String> = changed.iter().map(|(edge, _)| edge).collect();
        records.extend(edges.into_iter().filter_map(|edge| self.spent_record(edge)));
        self.journal.write(&records)
    }

    fn spent_record(&self, edge: &str) -> Option<Record> {
        self.spent.get(edge).map(|&(day, bytes)| Record::Spent { edge: edge.to_owned(), day, bytes })
    }

    fn record(&self, edge: &str, key: &Key) -> Option<Record> {
        let lane = self.lanes.get(edge)?;
        let edge = edge.to_owned();
        Some(match (lane.unfinished(key), lane.dead_of(key)) {
            (Some(job), _) => Record::Waits { edge, job },
            (None, Some(dead)) => Record::Dead { edge, dead: dead.clone() },
            (None, None) => Record::Done { edge, key: key.clone() },
        })
    }

    /// Writes down what counts, and nothing else.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        let mut records = Vec::new();
        for (edge, lane) in &self.lanes {
            records.extend(
                lane.keys().chain(lane.dead().map(|dead| &dead.job.key)).filter_map(|key| self.record(edge, key)),
            );
            records.extend(self.spent_record(edge));
        }
        self.journal.rewrite(&records)
    }
}

/// Edges that are no longer configured are forgotten.
pub(super) fn apply(lanes: &mut BTreeMap<String, Lane>, spent: &mut BTreeMap<String, (u64, u64)>, record: Record) {
    match record {
        Record::Waits { edge, job } => {
            if let Some(lane) = lanes.get_mut(&edge) {
                lane.forget(&job.key);
                lane.insert(job);
            }
        }
        Record::Done { edge, key } => {
            if let Some(lane) = lanes.get_mut(&edge) {
                lane.forget(&key);
            }
        }
        Record::Dead { edge, dead } => {
            if let Some(lane) = lanes.get_mut(&edge) {
                lane.bury(dead);
            }
        }
        Record::Spent { edge, day, bytes } => {
            spent.insert(edge, (day, bytes));
        }
    }
}
