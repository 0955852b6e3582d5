//! The protocol in simulated time: the real [`Relay`](super::Relay) and [`Follower`](super::Follower) between a center, a Redis and
//! edges that are played in memory, and faults drawn from a seed.
//!
//! Two hundred seconds of a company's life take some milliseconds. Throughout, no client sees what the center has not said for a
//! minute (the freshness table's bound while changes do not arrive), and no edge applies a record out of order. When all is
//! mended every edge comes to the center's state and follows the stream again. Of the relays one leads: none writes after another
//! took over, and nothing that the log keeps is missing between two entries. `MODTIER_SIMULATIONS` says how many seeds run,
//! `MODTIER_SEED` repeats one.

mod center;
mod disturb;
mod edge;
mod link;
mod process;
mod stream;
mod watched;

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use self::disturb::World;

/// Draws that depend on the seed alone. Its clones go on with the same draws.
#[derive(Clone)]
pub(super) struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    fn of(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    fn below(&self, end: u64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..end)
    }

    fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// As far as the next town and back.
    async fn latency(&self) {
        sleep(Duration::from_micros(200 + self.below(3000))).await;
    }

    /// Numbers from 0 to below 1.
    fn jitter(&self) -> crate::backoff::Jitter {
        let chance = self.clone();
        Box::new(move || chance.below(1000) as f64 / 1000.0)
    }
}

/// What was done, told when the seed fails.
#[derive(Clone)]
pub(super) struct Diary {
    seed: u64,
    begun: Instant,
    entries: Arc<Mutex<Vec<String>>>,
}

impl Diary {
    fn note(&self, what: &str) {
        let entry = format!("{:8.3} s  {what}", self.begun.elapsed().as_secs_f64());
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Ends the simulation.
    fn fail(&self, why: &str) -> ! {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        panic!("MODTIER_SEED={}: {why}; the schedule so far:\n{entries}", self.seed);
    }
}

/// The faults of one seed, from the first to agreement.
async fn simulate(seed: u64, is_fenced: bool) -> u64 {
    let diary = Diary { seed, begun: Instant::now(), entries: Arc::default() };
    let mut world = World::new(Chance::of(seed), diary, is_fenced);
    world.start();
    for _ in 0..40 {
        world.disturb().await;
    }
    world.mend();
    world.agree().await;
    world.judged()
}

/// One seed, in a runtime whose clock stands still while anything is to be done.
fn one(seed: u64, is_fenced: bool) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(simulate(seed, is_fenced))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn any_faults_end_in_agreement() {
    let repeated = number("MODTIER_SEED");
    let first = repeated.unwrap_or_else(rand::random);
    let count = if repeated.is_some() { 1 } else { number("MODTIER_SIMULATIONS").unwrap_or(500) };
    println!("simulations: MODTIER_SEED={first} and the {} after it", count - 1);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share =
        |thread: u64| (thread..count).step_by(threads).map(|number| one(first.wrapping_add(number), true)).sum();
    let judged: u64 = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads as u64).map(|thread| scope.spawn(move || -> u64 { share(thread) })).collect();
        shares.into_iter().map(|share| share.join().expect("a seed failed, as it has said")).sum()
    });
    println!("{judged} answers judged");
    assert!(judged > 100 * count, "{judged}: the clients have seen next to nothing");
}

/// Seeds that a missing lease may need to be found out.
const SEEDS_WITHOUT_LEASE: u64 = 50;

#[test]
fn a_redis_that_does_not_look_at_the_lease_is_found_out() {
    let first: u64 = rand::random();
    println!("simulations without a lease: from {first} on");
    let is_found_out = (0..SEEDS_WITHOUT_LEASE).any(|number| {
        let ended = std::thread::spawn(move || one(first.wrapping_add(number), false)).join();
        ended.is_err_and(|why| why.downcast_ref::<String>().is_some_and(|why| why.contains(stream::DEPOSED)))
    });
    assert!(is_found_out, "a relay that was paused wrote into its successor's work, and nobody saw it");
}
