//! The edges as they are at one moment: asked at their administration where it is known, and known by their heartbeats where there is
//! Redis. An edge that both tell of is one edge: its name says so.

mod heartbeats;
mod lag;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use shared::change::ChangeId;
use shared::redis::Redis;
use shared::sync::Log as _;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

pub(crate) use self::heartbeats::Heartbeats;
use self::lag::Missed;
use self::report::Report;
use crate::config::Config;
use crate::error::SyncerError;
use crate::feed::Feed;
use crate::tier::TierClient;
use crate::url::authority;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an edge that says nothing any more is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);

/// One edge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Edge {
    /// Its name; its address as long as it has not told its name.
    #[serde(rename = "edge")]
    pub(crate) name: String,
    /// Where it stands, if it says so.
    pub(crate) region: String,
    /// Whether it tells how far it is.
    pub(crate) up: bool,
    /// The last record that it has applied.
    pub(crate) cursor: Option<ChangeId>,
    /// For how long it has been without a record that the center has; none if that is not known.
    pub(crate) lag_seconds: Option<f64>,
    /// How changes come to it: `stream`, `feed` or `down`.
    pub(crate) channel: String,
    /// When it was last compared with the manifest: Unix time in seconds.
    pub(crate) last_reconcile: Option<u64>,
    /// The part of its recent requests that it answered from what it holds.
    pub(crate) hit_rate: Option<f64>,
    /// The last action of `control:edges:<repo>` that it began or did.
    #[serde(skip)]
    pub(crate) obeyed: String,
    /// The last heartbeat that was seen: when it was sent, by the edge's clock, and the cursor in it.
    #[serde(skip)]
    pub(crate) beat: Option<(u64, ChangeId)>,
}

/// All edges at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct View {
    /// The repository.
    pub(crate) repo: String,
    /// The newest record of the center's log; none before the center has answered.
    pub(crate) head: Option<ChangeId>,
    /// Whether the center answered this time.
    pub(crate) center_up: bool,
    /// Whether Redis answered this time; none where there is none.
    pub(crate) redis_up: Option<bool>,
    /// The edges by name.
    pub(crate) edges: Vec<Edge>,
}

/// Where edges are found.
pub(crate) struct Fleet {
    center: TierClient,
    edges: TierClient,
    feed: Feed,
    /// Label and base URL of the administration of each edge.
    admins: Vec<(String, String)>,
    repository: String,
    state: Mutex<State>,
}

/// What is known from looks before.
struct State {
    heartbeats: Option<Heartbeats>,
    head: Option<ChangeId>,
    missed: Missed,
    /// The last word of every edge, and when it came.
    known: BTreeMap<String, (Edge, Instant)>,
    /// The names that administrations gave.
    names: BTreeMap<String, String>,
    last: Option<(Instant, Arc<View>)>,
}

impl Fleet {
    /// The edges of the configuration, and those that send heartbeats.
    pub(crate) fn new(
        client: reqwest::Client,
        feed: Feed,
        config: &Config,
        redis: Option<&Redis>,
    ) -> Result<Self, SyncerError> {
        let admins = config.edges.iter().map(|edge| (authority(edge), edge.clone())).collect();
        let state = State {
            heartbeats: redis.cloned().map(Heartbeats::new),
            head: None,
            missed: Missed::default(),
            known: BTreeMap::new(),
            names: BTreeMap::new(),
            last: None,
        };
        Ok(Self {
            center: TierClient::of_center(client.clone(), config)?,
            edges: TierClient::of_edges(client, config)?,
            feed,
            admins,
            repository: config.repository.clone(),
            state: Mutex::new(state),
        })
    }

    /// The client that the center is asked with.
    pub(crate) const fn center(&self) -> &TierClient {
        &self.center
    }

    /// The client that the edges are asked with.
    pub(crate) const fn edges(&self) -> &TierClient {
        &self.edges
    }

    /// The base URLs of the administrations that are known.
    pub(crate) fn admins(&self) -> impl Iterator<Item = &str> {
        self.admins.iter().map(|(_, url)| url.as_str())
    }

    /// The base URL of the administration of the edge with this name, if it has told its name.
    pub(crate) async fn admin_of(&self, edge: &str) -> Option<&str> {
        let state = self.state.lock().await;
        let (label, _) = state.names.iter().find(|(_, name)| *name == edge)?;
        self.admins.iter().find(|(known, _)| known == label).map(|(_, url)| url.as_str())
    }

    /// The repository.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// Redis, for what else lies there; none where there is none.
    pub(crate) async fn heartbeats(&self) -> Option<tokio::sync::MappedMutexGuard<'_, Heartbeats>> {
        MutexGuard::try_map(self.state.lock().await, |state| state.heartbeats.as_mut()).ok()
    }

    /// Looks at all of them now. Those who ask while somebody looks share one look, which begins after they asked.
    pub(crate) async fn look(&self) -> Arc<View> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some((began, view)) = &state.last
            && *began >= asked
        {
            return Arc::clone(view);
        }
        let began = Instant::now();
        let head = timeout(ANSWER_TIMEOUT, self.feed.head(state.head.unwrap_or(ChangeId::ZERO)));
        let asked = futures_util::future::join_all(self.admins.iter().map(|(label, url)| self.ask(label, url)));
        let (head, answers) = tokio::join!(head, asked);
        let head = head.ok().and_then(Result::ok);
        state.head = head.or(state.head);
        let redis_up = state.hear(answers, self.repository.as_str()).await;
        let edges = state.edges(&self.feed).await;
        let (repo, center_up) = (self.repository.clone(), head.is_some());
        let view = Arc::new(View { repo, head: state.head, center_up, redis_up, edges });
        state.last = Some((began, Arc::clone(&view)));
        view
    }

    async fn ask<'a>(&self, label: &'a str, url: &str) -> (&'a str, Option<Report>) {
        let asked = async {
            let response = self.edges.get(url, "api/v1/sync").send().await.ok()?.error_for_status().ok()?;
            response.json::<Report>().await.ok()
        };
        (label, timeout(ANSWER_TIMEOUT, asked).await.ok().flatten())
    }
}

impl State {
    /// Takes over what was said, and marks as down who said nothing. Whether Redis answered, where there is one.
    async fn hear(&mut self, answers: Vec<(&str, Option<Report>)>, repository: &str) -> Option<bool> {
        for (edge, _) in self.known.values_mut() {
            edge.up = false;
        }
        let now = Instant::now();
        for (label, report) in answers {
            if let Some(mut report) = report {
                if report.edge.is_empty() {
                    label.clone_into(&mut report.edge);
                }
                if self.names.insert(label.to_owned(), report.edge.clone()).is_none() && report.edge != label {
                    // It was known by its address until now.
                    self.known.remove(label);
                }
                let beat = self.known.get(&report.edge).and_then(|(edge, _)| edge.beat);
                self.known.insert(report.edge.clone(), (Edge { beat, ..Edge::of(report) }, now));
            } else {
                let name = self.names.get(label).map_or(label, String::as_str);
                if !self.known.contains_key(name) {
                    self.known.insert(name.to_owned(), (Edge::unheard(name, None), now));
                }
            }
        }
        let mut redis_up = None;
        if let Some(heartbeats) = &mut self.heartbeats {
            let beats = timeout(ANSWER_TIMEOUT, heartbeats.read(repository)).await.ok().flatten();
            redis_up = Some(beats.is_some());
            let beats = beats.unwrap_or_default();
            for beat in beats.alive {
                take_beat(&mut self.known, beat, now);
            }
            for (name, cursor) in beats.silent {
                self.known.entry(name.clone()).or_insert_with(|| (Edge::unheard(&name, Some(cursor)), now));
            }
        }
        let names = &self.names;
        let is_configured = |name: &str| names.values().any(|known| known == name);
        self.known.retain(|name, (_, heard)| is_configured(name) || now.duration_since(*heard) < REMEMBERED);
        redis_up
    }

    /// The edges with their lag.
    async fn edges(&mut self, feed: &Feed) -> Vec<Edge> {
        let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis());
        let now_ms = now_ms.unwrap_or_default();
        let mut edges = Vec::with_capacity(self.known.len());
        for (edge, _) in self.known.values() {
            let mut edge = edge.clone();
            if let (Some(cursor), Some(head)) = (edge.cursor, self.head) {
                let lag = self.missed.lag(feed, cursor, head, now_ms).await;
                edge.lag_seconds = lag.map(|lag| lag.as_secs_f64());
            }
            edges.push(edge);
        }
        self.missed.keep(|cursor| edges.iter().any(|edge| edge.cursor == Some(cursor)));
        edges
    }
}

/// Takes over what a heartbeat says.
fn take_beat(known: &mut BTreeMap<String, (Edge, Instant)>, beat: Report, now: Instant) {
    let seen = beat.time.map(|time| (time, beat.cursor));
    match known.get_mut(&beat.edge) {
        // The administration's word is newer than a heartbeat, and than one that was there when it was said.
        Some((edge, _)) if edge.up || (edge.beat.is_some() && edge.beat == seen) => {
            edge.up = true;
            edge.obeyed = beat.obeyed;
            edge.beat = seen;
        }
        _ => drop(known.insert(beat.edge.clone(), (Edge::of(beat), now))),
    }
}

impl Edge {
    fn of(report: Report) -> Self {
        Self {
            name: report.edge,
            region: report.region,
            up: true,
            cursor: Some(report.cursor),
            lag_seconds: None,
            channel: report.channel,
            last_reconcile: report.last_reconcile,
            hit_rate: report.hit_rate,
            obeyed: report.obeyed,
            beat: report.time.map(|time| (time, report.cursor)),
        }
    }

    fn unheard(name: &str, cursor: Option<ChangeId>) -> Self {
        Self { cursor, up: false, ..Self::of(Report { edge: name.to_owned(), ..Report::default() }) }
    }
}

#[cfg(test)]
mod tests;
