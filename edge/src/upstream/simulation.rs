//! Two centers in simulated time, to see how long the choice takes to leave one and to return to it.
//!
//! A answers in 20 ms and B in 100 ms; ten requests come each second. For two minutes A is in some trouble. The pool, the health, the breaker and the budget are the real ones; the network and the clock are not. Beside
//! them runs what is often built: the lowest mean of the last ten probes, one request, one center.
//!
//! `tests/bench/choice.sh` prints the table.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Call, Verdict};
use super::budget::RetryBudget;
use super::pool::{Center, Pool, has_other_than};
use super::route::RouteKey;
use super::rtt::{LOST, Window};
use crate::config::Config;

/// Milliseconds.
type Ms = u64;

const EVERY: Ms = 100;
/// It begins and ends halfway between two of the plain chooser's probes.
const TROUBLE: std::ops::Range<Ms> = 62_500..182_500;
const END: Ms = 330_000;
const FIRST_BYTE: Ms = 35_000;
/// Requests in a row that show that the choice has settled.
const SETTLED: usize = 20;

/// What A does while it is in trouble.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// It answers, after 500 ms.
    Slow,
    /// It takes requests and never answers.
    Silent,
    /// It refuses connections for three seconds and answers for three.
    Flapping,
    /// It refuses connections.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    After(Ms),
    Never,
    Refuses,
}

fn behaviour(center: usize, trouble: Trouble, at: Ms) -> Behaviour {
    if center == 1 {
        return Behaviour::After(100);
    }
    if !TROUBLE.contains(&at) {
        return Behaviour::After(20);
    }
    match trouble {
        Trouble::Slow => Behaviour::After(500),
        Trouble::Silent => Behaviour::Never,
        Trouble::Flapping if (at - TROUBLE.start) % 6000 < 3000 => Behaviour::Refuses,
        Trouble::Flapping => Behaviour::After(20),
        Trouble::Gone => Behaviour::Refuses,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    ProbeDue(usize),
    Probed(usize, Option<Ms>),
    Slow(usize, usize),
    Ends(usize, usize, bool),
}

/// A request: when it came, the centers that were asked and are left, and what came of it.
#[derive(Debug)]
struct Request {
    came: Ms,
    left: Vec<usize>,
    asked: Vec<(usize, Ms)>,
    /// The center that it waits for, and what the breaker must know of it.
    waits: Option<(usize, Call)>,
    took: Option<Ms>,
    failed: bool,
}

struct World {
    start: Instant,
    now: Ms,
    trouble: Trouble,
    pool: Arc<Pool>,
    budget: RetryBudget,
    events: BinaryHeap<Reverse<(Ms, u64, Event)>>,
    number: u64,
    requests: Vec<Request>,
    /// What the plain chooser knows; it is used instead of the pool if it is there.
    plain: Option<[Window; 2]>,
}

impl World {
    fn new(trouble: Trouble, plain: bool) -> Self {
        let config = Config { centers: vec!["http://a:1".into(), "http://b:1".into()], ..Config::default() };
        let pool = Arc::new(Pool::new(&config, None).unwrap());
        for center in &pool.centers {
            center.health.vitals().dice = || 0.0;
        }
        let start = Instant::now();
        let budget = RetryBudget::new(config.routing.retry_share, config.routing.retry_burst, start);
        let plain = plain.then(Default::default);
        let events = BinaryHeap::new();
        let mut world = Self { start, now: 0, trouble, pool, budget, events, number: 0, requests: Vec::new(), plain };
        world.at(0, Event::ProbeDue(0));
        world.at(0, Event::ProbeDue(1));
        world.at(1000, Event::Arrives);
        world
    }

    fn run(mut self) -> Self {
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Arrives => self.arrives(),
                Event::ProbeDue(center) => {
                    if self.is_due(center) {
                        self.probe(center);
                    }
                }
                Event::Probed(center, took) => self.probed(center, took),
                Event::Slow(request, asked) => self.slow(request, asked),
                Event::Ends(request, asked, good) => self.ends(request, asked, good),
            }
        }
        self
    }

    fn at(&mut self, time: Ms, event: Event) {
        self.number += 1;
        self.events.push(Reverse((time, self.number, event)));
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn center(&self, center: usize) -> Arc<Center> {
        Arc::clone(&self.pool.centers[center])
    }

    fn arrives(&mut self) {
        if self.now + EVERY < END {
            self.at(self.now + EVERY, Event::Arrives);
        }
        let left = if let Some([a, b]) = &self.plain {
            vec![usize::from(b.mean() < a.mean())]
        } else {
            self.budget.earn();
            self.pool.choose(&RouteKey::default(), self.instant()).choice.order
        };
        self.requests.push(Request { came: self.now, left, asked: vec![], waits: None, took: None, failed: false });
        self.ask_next(self.requests.len() - 1, false);
    }

    /// As `Attempts::next` and the sending that follows.
    fn ask_next(&mut self, request: usize, after_trial: bool) {
        let now = self.instant();
        let repeated = !self.requests[request].asked.is_empty() && !after_trial;
        let mut admitted = None;
        if !repeated || self.budget.is_left(now) {
            while admitted.is_none() && !self.requests[request].left.is_empty() {
                let center = self.requests[request].left.remove(0);
                let trial = if self.plain.is_some() { Some(false) } else { self.center(center).health.admit(now) };
                admitted = trial.map(|trial| (center, trial));
            }
        }
        let Some((center, trial)) = admitted else {
            self.requests[request].failed = true;
            return;
        };
        if repeated {
            self.budget.take(now);
        }
        let asked = self.requests[request].asked.len();
        self.requests[request].asked.push((center, self.now));
        self.requests[request].waits = Some((center, Call { trial, slow: false }));
        match behaviour(center, self.trouble, self.now) {
            Behaviour::Refuses => self.at(self.now + 1, Event::Ends(request, asked, false)),
            Behaviour::After(ms) => self.at(self.now + ms, Event::Ends(request, asked, true)),
            Behaviour::Never => {
                self.at(self.now + millis(self.pool.slow), Event::Slow(request, asked));
                self.at(self.now + FIRST_BYTE, Event::Ends(request, asked, false));
            }
        }
    }

    /// The center that the request still waits for since it asked that one.
    fn waiting(&self, request: usize, asked: usize) -> Option<(usize, Call)> {
        let request = &self.requests[request];
        request.waits.filter(|_| request.asked.len() == asked + 1)
    }

    fn slow(&mut self, request: usize, asked: usize) {
        let Some((center, call)) = self.waiting(request, asked) else { return };
        if self.plain.is_some() {
            return;
        }
        let health = Arc::clone(&self.center(center).health);
        if has_other_than(&health, &self.pool.centers, self.instant()) && !call.slow {
            self.requests[request].waits = Some((center, Call { slow: true, ..call }));
            if health.slow(self.instant()).is_some() {
                self.give_up(center, false);
            }
        }
        health.doubt(self.instant(), self.pool.probes.interval.get() / 5);
        self.plan_probe(center);
    }

    fn ends(&mut self, request: usize, asked: usize, good: bool) {
        let Some((center, call)) = self.waiting(request, asked) else { return };
        let now = self.instant();
        self.requests[request].waits = None;
        let took = self.now - self.requests[request].asked[asked].1;
        if self.plain.is_none() {
            let health = Arc::clone(&self.center(center).health);
            health.left();
            if good || took > 1000 {
                health.first_byte(now, Duration::from_millis(took));
            }
            let verdict = if good { Verdict::Good } else { Verdict::Bad };
            if health.judge(now, call, verdict).is_some() {
                self.give_up(center, false);
            }
        }
        if good {
            self.requests[request].took = Some(self.now - self.requests[request].came);
        } else {
            self.ask_next(request, call.trial);
        }
    }

    /// Requests that wait for a center go to another one: all when its breaker opened, the slow ones when a probe was lost.
    fn give_up(&mut self, center: usize, only_slow: bool) {
        for request in 0..self.requests.len() {
            let Some((waits_for, _)) = self.requests[request].waits else { continue };
            let asked = self.requests[request].asked.len() - 1;
            let waited = self.now - self.requests[request].asked[asked].1;
            let slow = waited >= millis(self.pool.slow);
            if waits_for == center && (slow || !only_slow) && !self.requests[request].left.is_empty() {
                self.ends(request, asked, false);
            }
        }
    }

    /// Whether no probe is under way and none was made since this one was planned.
    fn is_due(&self, center: usize) -> bool {
        let center = self.center(center);
        let vitals = center.health.vitals();
        self.plain.is_some() || (!vitals.probing && vitals.probe_at <= self.instant())
    }

    fn probe(&mut self, center: usize) {
        if self.now >= END {
            return;
        }
        if self.plain.is_none() {
            self.center(center).health.vitals().probing = true;
        }
        match behaviour(center, self.trouble, self.now) {
            Behaviour::After(ms) => self.at(self.now + ms, Event::Probed(center, Some(ms))),
            Behaviour::Never => self.at(self.now + millis(LOST), Event::Probed(center, None)),
            Behaviour::Refuses => self.at(self.now + 1, Event::Probed(center, None)),
        }
    }

    fn probed(&mut self, center: usize, took: Option<Ms>) {
        let took = took.map(Duration::from_millis);
        if let Some(windows) = &mut self.plain {
            windows[center].push(took);
            self.at(self.now + millis(LOST), Event::ProbeDue(center));
            return;
        }
        let health = Arc::clone(&self.center(center).health);
        let interval = self.pool.probes.interval.get();
        let _ = health.probed(self.instant(), took, interval);
        if took.is_none() {
            self.give_up(center, true);
        }
        self.plan_probe(center);
    }

    fn plan_probe(&mut self, center: usize) {
        let next = self.center(center).health.vitals().probe_at;
        // The next whole millisecond, so that it is due by then.
        self.at(millis(next - self.start) + 1, Event::ProbeDue(center));
    }

    /// Milliseconds after `since` at which requests begin to go to `center` and go on to.
    fn settled_at(&self, center: usize, since: Ms) -> Option<Ms> {
        let later = self.requests.iter().filter(|request| request.came >= since);
        let first: Vec<_> = later.map(|request| (request.came, request.asked.first().map(|(c, _)| *c))).collect();
        let all = |some: &[(Ms, Option<usize>)]| some.iter().all(|(_, asked)| *asked == Some(center));
        first.windows(SETTLED).find(|some| all(some)).map(|some| some[0].0 - since)
    }

    fn row(&self, way: &str) -> Row {
        let failed = self.requests.iter().filter(|request| request.failed).count();
        let slowest = self.requests.iter().filter_map(|request| request.took).max().unwrap_or_default();
        Row {
            trouble: self.trouble,
            way: way.to_owned(),
            leaves: self.settled_at(1, TROUBLE.start),
            returns: self.settled_at(0, TROUBLE.end),
            failed,
            slowest,
        }
    }
}

#[derive(Debug)]
struct Row {
    trouble: Trouble,
    way: String,
    leaves: Option<Ms>,
    returns: Option<Ms>,
    failed: usize,
    slowest: Ms,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let trouble = match self.trouble {
            Trouble::Slow => "answers in 500 ms",
            Trouble::Silent => "black hole",
            Trouble::Flapping => "flaps, 3 s down, 3 s up",
            Trouble::Gone => "refuses connections",
        };
        let seconds = |ms: Option<Ms>| ms.map_or("–".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
        let (leaves, returns, slowest) = (seconds(self.leaves), seconds(self.returns), seconds(Some(self.slowest)));
        write!(f, "| {trouble} | {} | {leaves} | {returns} | {} | {slowest} |", self.way, self.failed)
    }
}

fn millis(duration: Duration) -> Ms {
    Ms::try_from(duration.as_millis()).unwrap()
}

#[test]
fn choice_of_center_leaves_and_returns() {
    let mut rows = Vec::new();
    for trouble in [Trouble::Slow, Trouble::Silent, Trouble::Flapping, Trouble::Gone] {
        let ours = World::new(trouble, false).run();
        assert!(ours.requests.iter().all(|request| request.waits.is_none() && request.took.is_some()), "{trouble:?}");
        let ours = ours.row("modtier");
        let plain = World::new(trouble, true).run().row("mean of ten probes");
        assert_eq!(ours.failed, 0, "{ours:?}");
        assert!(ours.leaves <= plain.leaves || plain.leaves.is_none(), "{ours:?} {plain:?}");
        assert!(ours.returns.is_some() && ours.returns <= plain.returns, "{ours:?} {plain:?}");
        assert!(ours.slowest < 10_000, "{ours:?}");
        rows.extend([ours, plain]);
    }
    println!("| A is in trouble | choice | leaves it after | returns after | requests failed | slowest answer |");
    println!("|---|---|---|---|---|---|");
    for row in &rows {
        println!("{row}");
    }
}
