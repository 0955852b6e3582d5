//! What is done, drawn from a seed: changes at the center and faults of everything else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use modtier_tests::{Fleet, Seed, Web};
use reqwest::Method;

use super::clients::Judge;
use super::diary::Diary;
use super::truth::{MODULES, Truth};

const STREAM: &str = "meta:golang-virtual";

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A new version of a module.
    Publish(u64),
    /// Several new versions of all modules.
    Burst,
    /// A version goes, or comes back if it is gone.
    Toggle(u64, u64),
    /// Redis loses entries, keys, groups, connections.
    Redis(Loss),
    /// A server is stopped (SIGSTOP) for some steps.
    Pause(Server),
    /// A server is killed for some steps, and comes back with this.
    Kill(Server, Back),
    /// The center loses everything and gets it again: another log.
    NewLog,
    /// Nothing for a while.
    Wait,
}

/// What Redis loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Trimmed,
    FlushAll,
    StreamDeleted,
    Group(usize),
    Relay,
    Connections,
}

/// Whom it befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Edge(usize),
    Syncer(usize),
    Redis,
}

/// With what a killed server comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    Kept,
    Empty,
    /// As it was when it was last killed.
    Old,
}

/// A server that is away, and until which step.
struct Away {
    server: Server,
    until: u64,
    back: Option<Back>,
}

/// Carries a schedule out.
pub(crate) struct Driver {
    // The first to go: when the test fails, the schedule comes after the servers' last words.
    fleet: Fleet,
    away: Vec<Away>,
    saved: Vec<Option<PathBuf>>,
    truth: Arc<Truth>,
    judge: Arc<Judge>,
    random: Seed,
    new_logs: u32,
    diary: Diary,
}

impl Driver {
    pub(crate) fn new(fleet: Fleet, truth: Arc<Truth>, judge: Arc<Judge>, diary: Diary, random: Seed) -> Self {
        let saved = fleet.edges.iter().map(|_| None).collect();
        Self { fleet, away: Vec::new(), saved, truth, judge, random, new_logs: 0, diary }
    }

    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(crate) fn truth(&self) -> &Truth {
        &self.truth
    }

    pub(crate) fn diary(&self) -> &Diary {
        &self.diary
    }

    /// A first version of each module.
    pub(crate) async fn prepare(&mut self) {
        for module in 0..MODULES {
            self.publish(module).await;
        }
    }

    /// Lets return who is due, and does the next thing.
    pub(crate) async fn step(&mut self, step: u64) {
        while let Some(due) = self.away.iter().position(|away| away.until <= step) {
            self.come_back(due).await;
        }
        let fault = self.draw();
        self.diary.note(&format!("{fault:?}"));
        match fault {
            Fault::Pause(server) | Fault::Kill(server, _) if self.away.iter().any(|away| away.server == server) => {}
            Fault::Pause(server) => {
                self.pause(server);
                let until = step + self.random.within(1..6);
                self.away.push(Away { server, until, back: None });
            }
            Fault::Kill(server, back) => {
                self.kill(server);
                let until = step + self.random.within(1..5);
                self.away.push(Away { server, until, back: Some(back) });
            }
            fault => self.perform(fault).await,
        }
        tokio::time::sleep(Duration::from_millis(self.random.within(0..150))).await;
    }

    /// Everybody returns.
    pub(crate) async fn mend(&mut self) {
        self.diary.note("mended");
        while !self.away.is_empty() {
            self.come_back(0).await;
        }
        for (number, syncer) in self.fleet.syncers.iter_mut().enumerate() {
            if let Some(status) = syncer.exited() {
                panic!("syncer {number} ended by itself with {status}");
            }
        }
    }

    /// Does what does not take a server away.
    pub(crate) async fn perform(&mut self, fault: Fault) {
        match fault {
            Fault::Publish(module) => self.publish(module).await,
            Fault::Burst => {
                for number in 0..9 {
                    self.publish(number % MODULES).await;
                }
            }
            Fault::Toggle(module, number) => self.toggle(module, number).await,
            Fault::Redis(loss) => self.lose(loss).await,
            Fault::NewLog => self.new_log().await,
            Fault::Wait => tokio::time::sleep(Duration::from_millis(500)).await,
            Fault::Pause(_) | Fault::Kill(..) => unreachable!("these have an end, which a step keeps"),
        }
    }

    fn draw(&mut self) -> Fault {
        let module = self.random.within(0..MODULES);
        let edge = usize::try_from(self.random.within(0..self.fleet.edges.len() as u64)).unwrap();
        let server = self.random.choice(&[Server::Edge(edge), Server::Syncer(0), Server::Syncer(1), Server::Redis]);
        let losses =
            [Loss::Trimmed, Loss::FlushAll, Loss::StreamDeleted, Loss::Group(edge), Loss::Relay, Loss::Connections];
        match self.random.within(0..32) {
            0..8 => Fault::Publish(module),
            8..10 => Fault::Burst,
            10..15 => Fault::Toggle(module, self.random.within(1..self.truth.last(module) + 1)),
            15..21 => Fault::Redis(self.random.choice(&losses)),
            21..25 => Fault::Pause(server),
            25..30 => Fault::Kill(server, self.random.choice(&[Back::Kept, Back::Kept, Back::Empty, Back::Old])),
            30 if self.new_logs == 0 => Fault::NewLog,
            _ => Fault::Wait,
        }
    }

    async fn publish(&self, module: u64) {
        let (number, built) = self.truth.next(module);
        self.send(&built).await;
        self.truth.done(module, number);
    }

    /// The `.info` goes first, so that another center makes the same of it.
    async fn send(&self, built: &modtier_tests::BuiltModule) {
        let local = self.fleet.local();
        let info = local.put(&built.at("info"), Some(self.fleet.token()), built.info.clone()).await.unwrap();
        assert!(matches!(info.status, 200 | 201), "PUT of the info of {}: {}", built.query(), info.text());
        let zip = self.fleet.publish(built).await.unwrap();
        assert!(matches!(zip.status, 200 | 201), "PUT {}: {}", built.query(), zip.text());
    }

    async fn toggle(&self, module: u64, number: u64) {
        let is_there = self.truth.is_there(module, number);
        self.truth.asks(module, number, !is_there);
        self.mark(module, number, !is_there).await;
        self.truth.done(module, number);
    }

    async fn mark(&self, module: u64, number: u64, is_there: bool) {
        let built = self.truth.built(module, number).expect("only what was published is changed");
        let place = format!("{}/@v/{}", built.path, built.version);
        let local = self.fleet.local();
        let request = if is_there {
            local.request(Method::POST, &format!("{place}/restore"))
        } else {
            local.request(Method::DELETE, &place)
        };
        let reply = Web::send(request.bearer_auth(self.fleet.token())).await.unwrap();
        assert!(reply.status < 300, "{place}: {} {}", reply.status, reply.text());
    }

    async fn lose(&mut self, loss: Loss) {
        let redis = self.fleet.redis.as_ref().expect("the fleet has Redis");
        if self.away.iter().any(|away| away.server == Server::Redis) {
            return;
        }
        match loss {
            Loss::Trimmed => redis.tell(&["XTRIM", STREAM, "MAXLEN", "1"]).await,
            Loss::FlushAll => redis.tell(&["FLUSHALL"]).await,
            Loss::StreamDeleted => redis.tell(&["DEL", STREAM]).await,
            Loss::Group(edge) => redis.tell(&["XGROUP", "DESTROY", STREAM, &format!("edge:edge-{edge}")]).await,
            Loss::Relay => redis.tell(&["DEL", "relay:golang-virtual"]).await,
            Loss::Connections => redis.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await,
        }
    }

    async fn new_log(&mut self) {
        self.new_logs += 1;
        self.judge.center.begin();
        self.fleet.restart_center_empty().await;
        for (module, number) in self.truth.all() {
            let built = self.truth.built(module, number).expect("what is known was published");
            self.send(&built).await;
            if !self.truth.is_there(module, number) {
                self.mark(module, number, false).await;
            }
        }
        self.judge.center.end();
    }

    fn pause(&self, server: Server) {
        if let Server::Edge(edge) = server {
            self.judge.edges[edge].begin();
        }
        self.process(server).signal("STOP");
    }

    fn kill(&mut self, server: Server) {
        match server {
            Server::Edge(edge) => {
                self.judge.edges[edge].begin();
                self.fleet.edges[edge].process.kill9();
            }
            Server::Syncer(number) => self.fleet.syncers[number].kill9(),
            Server::Redis => self.fleet.redis.as_mut().expect("the fleet has Redis").kill9(),
        }
    }

    async fn come_back(&mut self, place: usize) {
        let Away { server, back, .. } = self.away.remove(place);
        self.diary.note(&format!("back: {server:?} {back:?}"));
        match (server, back) {
            (_, None) => self.process(server).signal("CONT"),
            (Server::Edge(edge), Some(back)) => self.revive(edge, back).await,
            (Server::Syncer(number), Some(_)) => self.fleet.syncers[number].restart(),
            (Server::Redis, Some(Back::Empty)) => self.fleet.restart_redis_empty().await,
            (Server::Redis, Some(Back::Kept | Back::Old)) => {
                self.fleet.redis.as_mut().expect("the fleet has Redis").restart().await;
            }
        }
        if let Server::Edge(edge) = server {
            self.judge.edges[edge].end();
        }
    }

    async fn revive(&mut self, edge: usize, back: Back) {
        let dir = self.fleet.dir().join(format!("saved-{edge}"));
        match back {
            Back::Kept => {
                self.fleet.edges[edge].kill_and_save(&dir);
                self.saved[edge] = Some(dir);
            }
            Back::Empty => self.fleet.edges[edge].kill_and_put_back(None),
            Back::Old => self.fleet.edges[edge].kill_and_put_back(self.saved[edge].as_deref()),
        }
        self.fleet.edges[edge].restart().await;
    }

    fn process(&self, server: Server) -> &modtier_tests::Process {
        match server {
            Server::Edge(edge) => &self.fleet.edges[edge].process,
            Server::Syncer(number) => &self.fleet.syncers[number],
            Server::Redis => self.fleet.redis.as_ref().expect("the fleet has Redis").process(),
        }
    }
}
