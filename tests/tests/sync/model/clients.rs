//! Clients that ask every edge without pause, and the judge of each answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use modtier_tests::{Fleet, Reply, Seed, Web};
use tokio::task::JoinSet;

use super::truth::{MODULES, Truth, number, path};

/// How old what an edge answers may be: the relay's sign of life lasts 5 s and Redis is given up after 2 s, lists are kept for
/// 2 s where changes do not arrive, and the machine may be busy.
const AGE_MAX: Duration = Duration::from_secs(15);

/// How long an edge that lives may take over an answer, on a machine that is busy.
const ANSWER_MAX: Duration = Duration::from_secs(6);

/// Beyond so many wrong answers no more are told.
const TOLD_MAX: usize = 10;

/// Times in which a server is not there, or not what it was.
#[derive(Default)]
pub(crate) struct Outages(Mutex<Vec<(Instant, Option<Instant>)>>);

impl Outages {
    pub(crate) fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), None));
    }

    pub(crate) fn end(&self) {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outages.iter_mut().filter(|(_, end)| end.is_none()).for_each(|(_, end)| *end = Some(Instant::now()));
    }

    fn touch(&self, from: Instant, to: Instant) -> bool {
        let outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outages.iter().any(|(begun, end)| *begun <= to && end.is_none_or(|end| end >= from))
    }
}

/// What an answer is of.
#[derive(Debug, Clone, Copy)]
enum Question {
    List,
    Latest,
    File(u64, &'static str),
}

/// Judges answers by the model.
pub(crate) struct Judge {
    truth: Arc<Truth>,
    /// When each edge was not there.
    pub(crate) edges: Vec<Outages>,
    /// When the center was not there, or did not hold again what it had held.
    pub(crate) center: Outages,
    wrong: Mutex<Vec<String>>,
    answers: AtomicU64,
}

impl Judge {
    pub(crate) fn new(truth: Arc<Truth>, edges: usize) -> Self {
        Self {
            truth,
            edges: (0..edges).map(|_| Outages::default()).collect(),
            center: Outages::default(),
            wrong: Mutex::default(),
            answers: AtomicU64::new(0),
        }
    }

    /// How many answers were judged.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// Fails if an answer was wrong.
    pub(crate) fn assert_content(&self) {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(wrong.is_empty(), "wrong answers:\n{}", wrong.join("\n"));
    }

    fn judge(&self, edge: usize, (module, question): (u64, Question), from: Instant, reply: Result<Reply, String>) {
        let to = Instant::now();
        let center_is_excused = self.center.touch(from.checked_sub(AGE_MAX).unwrap_or(from), to);
        if self.edges[edge].touch(from, to) {
            return;
        }
        let verdict = match reply {
            Err(error) => Err(format!("no answer: {error}")),
            Ok(_) if to - from > ANSWER_MAX => Err(format!("answered only after {:?}", to - from)),
            Ok(reply) if reply.status >= 500 && center_is_excused => Ok(()),
            Ok(reply) => self.check(module, question, from, to, &reply, center_is_excused),
        };
        self.answers.fetch_add(1, Relaxed);
        if let Err(why) = verdict {
            let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            if wrong.len() < TOLD_MAX {
                wrong.push(format!("edge-{edge}, {question:?} of {}: {why}", path(module)));
            }
        }
    }

    fn check(
        &self,
        module: u64,
        question: Question,
        from: Instant,
        to: Instant,
        reply: &Reply,
        center_is_excused: bool,
    ) -> Result<(), String> {
        let since = from.checked_sub(AGE_MAX).unwrap_or(from);
        let seen = |number| self.truth.seen(module, number, since, to);
        let text = || reply.text();
        match (question, reply.status) {
            (_, 200) if !reply.complete => Err("it broke off".to_owned()),
            (Question::List, 200) => {
                let listed: Vec<u64> = text().lines().filter_map(number).collect();
                for version in 1..=self.truth.last(module) {
                    let (is_listed, seen) = (listed.contains(&version), seen(version));
                    let is_right = if is_listed { seen.may_be_there } else { seen.may_be_absent || center_is_excused };
                    if !is_right {
                        return Err(format!("{is_listed} that v1.0.{version} is listed: {:?}", text()));
                    }
                }
                Ok(())
            }
            (Question::Latest, 200) => {
                let latest = reply.json()["Version"].as_str().and_then(number).ok_or_else(text)?;
                let newer = (latest + 1..=self.truth.last(module)).find(|newer| !seen(*newer).may_be_absent);
                match newer {
                    Some(newer) if !center_is_excused => Err(format!("v1.0.{latest}, and there is v1.0.{newer}")),
                    _ if !seen(latest).may_be_there => Err(format!("v1.0.{latest} is not there")),
                    _ => Ok(()),
                }
            }
            (Question::File(version, extension), 200) => {
                let built = self.truth.built(module, version).ok_or("it was never published")?;
                let body = match extension {
                    "zip" => &built.zip,
                    "mod" => &built.go_mod,
                    _ => &built.info,
                };
                if reply.body != *body {
                    return Err(format!("other bytes: {:?}", text().chars().take(100).collect::<String>()));
                }
                if seen(version).may_be_there { Ok(()) } else { Err("it was removed".to_owned()) }
            }
            (Question::File(version, _), 403 | 404 | 410) => {
                let seen = seen(version);
                if seen.may_be_absent || center_is_excused {
                    Ok(())
                } else {
                    Err(format!("{}: {}", reply.status, text()))
                }
            }
            (Question::List | Question::Latest, 403 | 404 | 410) if center_is_excused => Ok(()),
            // Of a module whose versions are all gone, its owner has nothing, and nobody else is asked.
            (Question::Latest, 403 | 404 | 410) => {
                let certain = (1..=self.truth.last(module)).find(|version| !seen(*version).may_be_absent);
                certain.map_or(Ok(()), |version| Err(format!("{}, and there is v1.0.{version}", reply.status)))
            }
            (_, status) => Err(format!("{status}: {}", text())),
        }
    }
}

/// The tasks of the clients.
pub(crate) struct Clients {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Clients {
    pub(crate) fn start(fleet: &Fleet, judge: &Arc<Judge>, seed: u64) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for (number, edge) in fleet.edges.iter().enumerate() {
            // A connection for each question: none of an edge that was killed meanwhile.
            let web = Web::with(edge.goproxy(), |client| client.pool_max_idle_per_host(0));
            let random = Seed::of(seed ^ (number as u64 + 1));
            tasks.spawn(ask(web, number, Arc::clone(judge), random, Arc::clone(&stop)));
        }
        Self { tasks, stop }
    }

    pub(crate) async fn end(mut self) {
        self.stop.store(true, Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

async fn ask(web: Web, edge: usize, judge: Arc<Judge>, mut random: Seed, stop: Arc<AtomicBool>) {
    while !stop.load(Relaxed) {
        let module = random.within(0..MODULES);
        // Mostly what is there, sometimes what is not there yet.
        let version = random.within(1..judge.truth.last(module) + 2);
        let question = match random.within(0..5) {
            0 => Question::List,
            1 => Question::Latest,
            2 => Question::File(version, "info"),
            3 => Question::File(version, "mod"),
            _ => Question::File(version, "zip"),
        };
        let place = match question {
            Question::List => format!("{}/@v/list", path(module)),
            Question::Latest => format!("{}/@latest", path(module)),
            Question::File(version, extension) => format!("{}/@v/v1.0.{version}.{extension}", path(module)),
        };
        let from = Instant::now();
        let reply = web.try_get(&place).await;
        judge.judge(edge, (module, question), from, reply);
        tokio::time::sleep(Duration::from_millis(random.within(2..20))).await;
    }
}
