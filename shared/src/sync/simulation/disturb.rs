//! The world: one center, one Redis, two relays, three edges; and what is done to them.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::center::{Center, Feed, MODULES};
use super::edge::{Disk, Edge};
use super::link::{Link, State};
use super::process::Process;
use super::stream::{Data, Power, Redis, Store, Streams};
use super::{Chance, Diary};
use crate::sync::reader::{Channel, Replica as _};
use crate::sync::{Follower, Keep, Pace, Relay, RelaySettings};

const EDGES: usize = 3;
const RELAYS: usize = 2;

/// How long it may take until all agree when nothing is disturbed any more: a request that was swallowed is given up after
/// 17 s, and what follows is quick.
const AGREEMENT: Duration = Duration::from_secs(30);

/// How long it may take until every edge follows the stream again: another relay leads after 10 s.
const STREAM_AGAIN: Duration = Duration::from_secs(30);

/// How long a change takes by the stream.
const BY_STREAM: Duration = Duration::from_secs(1);

/// An edge's machine.
struct EdgeSeat {
    link: Link,
    disk: Disk,
    saved: Disk,
    edge: Edge,
    process: Option<Process>,
    judged: u64,
}

/// A relay's machine.
struct RelaySeat {
    link: Link,
    process: Option<Process>,
    starts: u64,
}

/// Everything.
pub(super) struct World {
    chance: Chance,
    diary: Diary,
    center: Arc<Center>,
    redis: Arc<Redis>,
    saved: Data,
    edges: Vec<EdgeSeat>,
    relays: Vec<RelaySeat>,
    no_relay_until: Instant,
}

impl World {
    /// With a Redis that knows the lease, or one that does not.
    pub(super) fn new(chance: Chance, diary: Diary, is_fenced: bool) -> Self {
        let center = Arc::new(Center::new());
        let seat = |_| {
            let link = Link::new(&chance);
            let edge = Edge::new(Disk::default(), &center, link.clone(), &chance, &diary);
            EdgeSeat { link, disk: Disk::default(), saved: Disk::default(), edge, process: None, judged: 0 }
        };
        let edges = (0..EDGES).map(seat).collect();
        let relays = (0..RELAYS).map(|_| RelaySeat { link: Link::new(&chance), process: None, starts: 0 }).collect();
        let redis = Redis::new(&chance, &center, is_fenced);
        Self { chance, diary, center, redis, saved: Data::default(), edges, relays, no_relay_until: Instant::now() }
    }

    pub(super) fn start(&mut self) {
        (0..MODULES).for_each(|module| self.center.publish(module));
        (0..RELAYS).for_each(|number| self.start_relay(number));
        (0..EDGES).for_each(|number| self.start_edge(number));
    }

    /// How many answers clients have judged.
    pub(super) fn judged(&self) -> u64 {
        self.edges.iter().map(|seat| seat.judged + seat.edge.judged()).sum()
    }

    /// The next change or fault, and some time.
    pub(super) async fn disturb(&mut self) {
        let (module, edge, relay) = (self.chance.below(MODULES), self.one_of(EDGES), self.one_of(RELAYS));
        let draw = self.chance.below(60);
        let what = match draw {
            0..10 => {
                self.center.publish(module);
                format!("publish {module}")
            }
            10..13 => {
                (0..30).for_each(|number| self.center.publish(number % MODULES));
                "burst".to_owned()
            }
            13..17 => {
                let versions = self.center.versions();
                let version = versions[self.one_of(versions.len())];
                self.center.toggle(version);
                format!("toggle {version:?}")
            }
            17..19 => {
                self.center.refresh(module);
                format!("refresh {module}")
            }
            19..32 => self.disturb_redis(edge),
            32..40 => self.disturb_edge(edge),
            40..48 => self.disturb_relay(relay),
            48..51 => self.disturb_link(edge, relay),
            51 => {
                self.center.new_log();
                "new log".to_owned()
            }
            53 => {
                self.relays.iter_mut().for_each(|seat| seat.process = None);
                self.no_relay_until = Instant::now() + Duration::from_millis(self.chance.below(150_000));
                "both relays killed for long".to_owned()
            }
            52 => {
                self.center.trim(2);
                "log trimmed".to_owned()
            }
            _ => "nothing".to_owned(),
        };
        self.diary.note(&what);
        sleep(Duration::from_millis(self.chance.below(8000))).await;
        self.look_after();
    }

    fn one_of(&self, count: usize) -> usize {
        usize::try_from(self.chance.below(count as u64)).unwrap()
    }

    fn disturb_redis(&mut self, edge: usize) -> String {
        let redis = &self.redis;
        let what = match self.chance.below(13) {
            0 | 1 => {
                redis.trim(1);
                "trimmed"
            }
            2 => {
                redis.load(Data::default());
                "FLUSHALL"
            }
            3 => {
                redis.delete_stream();
                "DEL of the stream"
            }
            4 => {
                redis.delete_group(&name(edge));
                return format!("XGROUP DESTROY of {}", name(edge));
            }
            5 => {
                redis.delete_keys();
                "DEL of the lease and the sign"
            }
            6 | 7 => {
                redis.hang_up();
                "connections closed"
            }
            8 => {
                redis.set_power(Power::Off);
                "off"
            }
            9 | 10 => {
                redis.set_power(Power::Stopped);
                "stopped"
            }
            11 => {
                redis.set_power(Power::Off);
                redis.load(std::mem::replace(&mut self.saved, redis.dump()));
                redis.set_power(Power::On);
                "restarted with an old dump"
            }
            _ => {
                redis.set_power(Power::On);
                "on"
            }
        };
        format!("Redis: {what}")
    }

    fn disturb_edge(&mut self, number: usize) -> String {
        let seat = &mut self.edges[number];
        match self.chance.below(6) {
            0 | 1 => {
                if let Some(process) = &seat.process {
                    process.stop();
                }
                format!("{} stopped", name(number))
            }
            2 => {
                self.kill_edge(number);
                format!("{} killed", name(number))
            }
            draw => {
                self.kill_edge(number);
                let seat = &mut self.edges[number];
                let what = match draw {
                    3 => "its data",
                    4 => {
                        seat.disk = Disk::default();
                        "no data"
                    }
                    _ => {
                        std::mem::swap(&mut seat.disk, &mut seat.saved);
                        "old data"
                    }
                };
                self.start_edge(number);
                format!("{} restarted with {what}", name(number))
            }
        }
    }

    fn disturb_relay(&mut self, number: usize) -> String {
        match self.chance.below(4) {
            0 | 1 => {
                if let Some(process) = &self.relays[number].process {
                    process.stop();
                }
                format!("relay {number} stopped")
            }
            2 => {
                self.relays[number].process = None;
                format!("relay {number} killed")
            }
            _ if Instant::now() < self.no_relay_until => "nothing".to_owned(),
            _ => {
                self.start_relay(number);
                format!("relay {number} restarted")
            }
        }
    }

    fn disturb_link(&self, edge: usize, relay: usize) -> String {
        let state = if self.chance.one_in(2) { State::Cut } else { State::Silent };
        if self.chance.one_in(2) {
            self.edges[edge].link.set(state);
            format!("{} and the center: {state:?}", name(edge))
        } else {
            self.relays[relay].link.set(state);
            format!("relay {relay} and the center: {state:?}")
        }
    }

    /// What was taken away comes back, sooner or later.
    fn look_after(&mut self) {
        if self.edges.iter().any(|seat| seat.process.as_ref().is_some_and(Process::has_ended)) {
            self.diary.fail("an edge has failed, as was said before");
        }
        self.leadership_holds();
        if self.chance.one_in(3) {
            self.redis.set_power(Power::On);
        }
        for number in 0..EDGES {
            if self.chance.one_in(4) {
                self.restore_edge(number);
            }
        }
        for number in 0..RELAYS {
            if self.chance.one_in(4) && Instant::now() >= self.no_relay_until {
                self.restore_relay(number);
            }
        }
    }

    fn leadership_holds(&self) {
        if let Some(how) = self.redis.broken() {
            self.diary.fail(&how);
        }
    }

    fn restore_edge(&mut self, number: usize) {
        self.edges[number].link.set(State::Up);
        match &self.edges[number].process {
            Some(process) => process.go_on(),
            None => self.start_edge(number),
        }
    }

    fn restore_relay(&mut self, number: usize) {
        self.relays[number].link.set(State::Up);
        match &self.relays[number].process {
            Some(process) if process.has_ended() => self.diary.fail("a relay ended by itself"),
            Some(process) => process.go_on(),
            None => self.start_relay(number),
        }
    }

    /// Everything is as it should be.
    pub(super) fn mend(&mut self) {
        self.diary.note("mended");
        self.redis.mend();
        (0..EDGES).for_each(|number| self.restore_edge(number));
        (0..RELAYS).for_each(|number| self.restore_relay(number));
    }

    fn kill_edge(&mut self, number: usize) {
        let seat = &mut self.edges[number];
        if seat.process.take().is_some() {
            seat.disk = seat.edge.disk();
            seat.judged += seat.edge.judged();
        }
    }

    fn start_edge(&mut self, number: usize) {
        let seat = &mut self.edges[number];
        let edge = Edge::new(seat.disk.clone(), &self.center, seat.link.clone(), &self.chance, &self.diary);
        seat.edge = edge.clone();
        let feed = Feed { center: Arc::clone(&self.center), link: seat.link.clone(), slack: Duration::from_secs(15) };
        let streams = || Streams { redis: Arc::clone(&self.redis), edge: name(number) };
        let (told, beats) = (streams(), edge.clone());
        let heartbeat = async move {
            loop {
                told.beat(beats.cursor()).await;
                sleep(Duration::from_secs(10)).await;
            }
        };
        let clients = edge.clone().clients();
        let follower = Follower::new(Arc::new(edge), feed, streams(), Pace::default(), self.chance.jitter());
        seat.process = Some(Process::start(async move {
            tokio::select! {
                biased;
                () = follower.run() => {}
                () = heartbeat => {}
                () = clients => {}
            }
        }));
    }

    fn start_relay(&mut self, number: usize) {
        let seat = &mut self.relays[number];
        seat.starts += 1;
        let holder = format!("relay-{number}-{}", seat.starts);
        let feed = Feed { center: Arc::clone(&self.center), link: seat.link.clone(), slack: Duration::from_secs(10) };
        let store = Store { redis: Arc::clone(&self.redis), holder };
        let keep = Keep { entries: 20, entries_max: 40, ..Keep::default() };
        let relay = Relay::new(feed, store, RelaySettings { keep, ..RelaySettings::default() }, |_| {});
        let (diary, jitter) = (self.diary.clone(), self.chance.jitter());
        seat.process = Some(Process::start(async move {
            if let Err(end) = relay.run(pending(), jitter).await {
                diary.note(&format!("relay {number} ends: {end:?}"));
            }
        }));
    }

    /// Every edge comes to the center's state, and then to the stream: changes are there at once again.
    pub(super) async fn agree(&self) {
        self.until("agreement", AGREEMENT, Edge::differs).await;
        let (begun, mut quick) = (Instant::now(), 0);
        // Not only the last one, which an edge may have had from a stream that it is about to leave.
        while quick < 5 {
            self.center.publish(0);
            sleep(BY_STREAM).await;
            let by_stream = |seat: &EdgeSeat| seat.edge.channel() == Channel::Stream && seat.edge.differs().is_none();
            quick = if self.edges.iter().all(by_stream) { quick + 1 } else { 0 };
            self.leadership_holds();
            if begun.elapsed() > STREAM_AGAIN {
                let channels: Vec<_> = self.edges.iter().map(|seat| seat.edge.channel()).collect();
                self.diary.fail(&format!("changes are not there at once after {STREAM_AGAIN:?}: {channels:?}"));
            }
        }
    }

    async fn until(&self, what: &str, limit: Duration, differs: impl Fn(&Edge) -> Option<String>) {
        let begun = Instant::now();
        loop {
            let mut edges = self.edges.iter().enumerate();
            let different = edges.find_map(|(number, seat)| Some((number, differs(&seat.edge)?)));
            let Some((number, how)) = different else { return };
            if begun.elapsed() >= limit {
                self.diary.fail(&format!("{what} is not there after {limit:?}: {}: {how}", name(number)));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn name(edge: usize) -> String {
    format!("edge-{edge}")
}
