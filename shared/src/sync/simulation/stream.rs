//! Redis: streams with consumer groups, keys that expire, and steps that happen whole or not at all, also when nobody waits
//! for their answer any more.

mod witness;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

pub(super) use self::witness::DEPOSED;
use self::witness::Witness;
pub(super) use self::writing::Store;
use super::Chance;
use super::center::Center;
use super::watched::Watched;
use crate::change::{Change, ChangeId};
use crate::sync::reader::{Arrived, RelaySign, SourceError, StreamAccess, StreamReader};

/// How long a client waits for an answer, beyond what it asked to wait.
const ANSWER: Duration = Duration::from_secs(2);
/// How long one read waits for entries.
const BLOCK: Duration = Duration::from_secs(5);
/// How long the relay's sign of life lasts.
const SIGN: Duration = Duration::from_secs(5);
/// Entries that one read gives.
const COUNT: usize = 10;

/// Whether the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// Stopped (SIGSTOP): what is sent waits.
    Stopped,
    Off,
}

/// The server.
pub(super) struct Redis {
    data: Mutex<Data>,
    power: Watched<Power>,
    changed: Watched<u64>,
    /// Whether answers get lost now and then.
    loses_answers: AtomicBool,
    /// Whether a step is refused to who does not hold the lease.
    is_fenced: bool,
    witness: Mutex<Witness>,
    chance: Chance,
}

/// What it holds.
#[derive(Default, Clone)]
pub(super) struct Data {
    stream: Option<Entries>,
    sign: Option<(ChangeId, Instant)>,
    lease: Option<(String, Instant)>,
    terms: u64,
    seen: BTreeMap<String, ChangeId>,
    /// Connections of an earlier one are closed.
    connections: u64,
}

#[derive(Default, Clone)]
struct Entries {
    kept: BTreeMap<ChangeId, Change>,
    last: ChangeId,
    groups: BTreeMap<String, Group>,
}

#[derive(Default, Clone)]
struct Group {
    last: ChangeId,
    pending: BTreeSet<ChangeId>,
}

impl Redis {
    pub(super) fn new(chance: &Chance, log: &Arc<Center>, is_fenced: bool) -> Arc<Self> {
        Arc::new(Self {
            is_fenced,
            witness: Mutex::new(Witness::new(log)),
            data: Mutex::default(),
            power: Watched::new(Power::On),
            changed: Watched::new(0),
            loses_answers: AtomicBool::new(true),
            chance: chance.clone(),
        })
    }

    /// From now on no answer gets lost by itself.
    pub(super) fn mend(&self) {
        self.loses_answers.store(false, Relaxed);
        self.set_power(Power::On);
    }

    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What relays must never do, and did.
    pub(super) fn broken(&self) -> Option<String> {
        self.witness().broken()
    }

    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_power(&self, power: Power) {
        if power == Power::Off {
            self.hang_up();
        }
        self.power.set(power);
    }

    /// Closes all connections.
    pub(super) fn hang_up(&self) {
        self.lock().connections += 1;
        self.changed.count();
    }

    /// What it would have on its disk.
    pub(super) fn dump(&self) -> Data {
        self.lock().clone()
    }

    /// Puts other data in the place of its own.
    pub(super) fn load(&self, dump: Data) {
        let mut data = self.lock();
        *data = Data { connections: data.connections, ..dump };
        self.witness().forget();
        self.changed.count();
    }

    /// Removes all entries but the newest.
    pub(super) fn trim(&self, kept: usize) {
        if let Some(stream) = &mut self.lock().stream {
            while stream.kept.len() > kept {
                stream.kept.pop_first();
            }
        }
    }

    pub(super) fn delete_stream(&self) {
        self.lock().stream = None;
        self.changed.count();
    }

    pub(super) fn delete_group(&self, group: &str) {
        if let Some(stream) = &mut self.lock().stream {
            stream.groups.remove(group);
        }
        self.changed.count();
    }

    pub(super) fn delete_keys(&self) {
        let mut data = self.lock();
        (data.sign, data.lease) = (None, None);
    }

    /// Waits until it answers. The answer is false where the connection is not there any more.
    async fn serves(&self, connection: u64) -> bool {
        self.power.wait_for(|power| power != Power::Stopped).await;
        self.power.get() == Power::On && self.lock().connections == connection
    }
}

/// A client's connection.
#[derive(Clone)]
struct Connection {
    redis: Arc<Redis>,
    number: u64,
    /// Dropped with the last clone: the server sees that nobody is there.
    alive: Arc<()>,
}

impl Connection {
    async fn open(redis: &Arc<Redis>) -> Result<Self, String> {
        let opening = async {
            redis.chance.latency().await;
            redis.power.wait_for(|power| power != Power::Stopped).await;
            (redis.power.get() == Power::On).then(|| redis.lock().connections).ok_or_else(|| "refused".to_owned())
        };
        let number = timeout(ANSWER, opening).await.map_err(|_| "late".to_owned())??;
        Ok(Self { redis: Arc::clone(redis), number, alive: Arc::default() })
    }

    /// Sends a command. It is carried out also when its sender has given up meanwhile, and its answer may be lost.
    async fn call<T: Send + 'static>(&self, work: impl FnOnce(&mut Data) -> T + Send + 'static) -> Result<T, String> {
        let (redis, number) = (Arc::clone(&self.redis), self.number);
        let carried_out = tokio::spawn(async move {
            redis.chance.latency().await;
            if !redis.serves(number).await {
                return None;
            }
            let done = work(&mut redis.lock());
            redis.changed.count();
            let is_lost = redis.loses_answers.load(Relaxed) && redis.chance.one_in(1000);
            (!is_lost && redis.serves(number).await).then_some(done)
        });
        match timeout(ANSWER, carried_out).await {
            Ok(Ok(Some(done))) => Ok(done),
            Ok(Ok(None) | Err(_)) => Err("the connection broke".to_owned()),
            Err(_) => Err("late".to_owned()),
        }
    }
}

/// The way to the stream for one edge.
pub(super) struct Streams {
    pub(super) redis: Arc<Redis>,
    pub(super) edge: String,
}

impl StreamAccess for Streams {
    type Reader = Reader;
    type Sign = Sign;

    fn is_configured(&self) -> bool {
        true
    }

    async fn sign(&self) -> Result<Sign, SourceError> {
        Connection::open(&self.redis).await.map(Sign).map_err(SourceError)
    }

    async fn reader(&self, cursor: ChangeId) -> Result<Reader, SourceError> {
        let connection = Connection::open(&self.redis).await.map_err(SourceError)?;
        let group = self.edge.clone();
        let created = connection.call(move |data| {
            let stream = data.stream.get_or_insert_default();
            stream.groups.entry(group).or_default().last = cursor;
        });
        created.await.map_err(SourceError)?;
        Ok(Reader { connection, group: self.edge.clone(), unconfirmed: Vec::new(), pending_first: true })
    }
}

impl Streams {
    /// Says how far the edge is.
    pub(super) async fn beat(&self, cursor: ChangeId) {
        if let Ok(connection) = Connection::open(&self.redis).await {
            let edge = self.edge.clone();
            let _ = connection.call(move |data| data.seen.insert(edge, cursor)).await;
        }
    }
}

/// The relay's sign of life.
pub(super) struct Sign(Connection);

impl RelaySign for Sign {
    async fn head(&mut self) -> Result<Option<ChangeId>, SourceError> {
        let sign = self.0.call(|data| data.sign.filter(|(_, until)| *until > Instant::now())).await;
        Ok(sign.map_err(SourceError)?.map(|(head, _)| head))
    }
}

/// One edge's place in the stream.
pub(super) struct Reader {
    connection: Connection,
    group: String,
    unconfirmed: Vec<ChangeId>,
    pending_first: bool,
}

/// Takes what comes next; none to wait for it.
fn deliver(stream: &mut Entries, group: &str) -> Option<Vec<Change>> {
    let group = stream.groups.get_mut(group)?;
    let next = stream.kept.range(group.last.next()..).take(COUNT);
    let next: Vec<_> = next.map(|(_, change)| change.clone()).collect();
    group.last = next.last().map_or(group.last, |change| change.id);
    group.pending.extend(next.iter().map(|change| change.id));
    Some(next)
}

/// Waits on the server for new entries of a group. The error is of a stream or a group that went away.
async fn wait_for_new(
    redis: Arc<Redis>,
    number: u64,
    alive: Weak<()>,
    group: String,
) -> Result<Vec<Change>, &'static str> {
    redis.chance.latency().await;
    let deadline = Instant::now() + BLOCK;
    let mut is_first = true;
    loop {
        if !redis.serves(number).await {
            return Err("the connection broke");
        }
        // Sometimes it has not noticed yet that the client is gone.
        if alive.strong_count() == 0 && !redis.chance.one_in(4) {
            return Err("nobody waits");
        }
        let changed = redis.changed.get();
        let delivered = redis.lock().stream.as_mut().and_then(|stream| deliver(stream, &group));
        match delivered {
            None if is_first => return Err("NOGROUP"),
            None => return Err("UNBLOCKED"),
            Some(entries) if !entries.is_empty() || Instant::now() >= deadline => {
                redis.chance.latency().await;
                return if redis.serves(number).await { Ok(entries) } else { Err("the connection broke") };
            }
            Some(_) => is_first = false,
        }
        let _ = timeout_at(deadline, redis.changed.wait_for(|now| now != changed)).await;
    }
}

impl StreamReader for Reader {
    async fn next(&mut self) -> Result<Arrived, SourceError> {
        let group = self.group.clone();
        let entries = if self.pending_first {
            let pending = self.connection.call(move |data| {
                let stream = data.stream.as_ref()?;
                let pending = &stream.groups.get(&group)?.pending;
                // What was trimmed away has an id and nothing else.
                let change = |id: &ChangeId| (*id, stream.kept.get(id).cloned());
                Some(pending.iter().take(COUNT).map(change).collect::<Vec<_>>())
            });
            match pending.await.map_err(SourceError)? {
                None => return Ok(Arrived::Lost("NOGROUP".to_owned())),
                Some(entries) => entries,
            }
        } else {
            let Connection { redis, number, alive } = &self.connection;
            let read = tokio::spawn(wait_for_new(Arc::clone(redis), *number, Arc::downgrade(alive), group));
            match timeout(BLOCK + ANSWER, read).await {
                Ok(Ok(Ok(entries))) => entries.into_iter().map(|change| (change.id, Some(change))).collect(),
                Ok(Ok(Err("NOGROUP"))) => return Ok(Arrived::Lost("NOGROUP".to_owned())),
                Ok(Ok(Err(reason))) => return Err(SourceError(reason.to_owned())),
                Ok(Err(_)) | Err(_) => return Err(SourceError("late".to_owned())),
            }
        };
        self.pending_first = self.pending_first && !entries.is_empty();
        self.unconfirmed.extend(entries.iter().map(|(id, _)| *id));
        Ok(Arrived::Changes(entries.into_iter().filter_map(|(_, change)| change).collect()))
    }

    async fn applied(&mut self) -> Result<(), SourceError> {
        let (group, confirmed) = (self.group.clone(), std::mem::take(&mut self.unconfirmed));
        let confirming = self.connection.call(move |data| {
            if let Some(group) = data.stream.as_mut().and_then(|stream| stream.groups.get_mut(&group)) {
                group.pending.retain(|id| !confirmed.contains(id));
            }
        });
        confirming.await.map_err(SourceError)
    }
}
