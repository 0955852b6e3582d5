//! When a fill may ask a center: at its client's rate, then when there is a place.
//!
//! A fill is on the board from the moment it is wanted, so everybody joins it at once and nothing is fetched twice. Its
//! *turn* says when it may go on: where the client that began it is over its rate, that is later. Another client that joins
//! and is not over its own brings the turn forward and pays for it, so nobody waits in someone else's queue.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::ClientNet;
use super::queue::Urgency;
use super::rate::Rates;

/// The turns that are still to come, by what is filled.
#[derive(Debug)]
pub(crate) struct Turns<K: Eq + Hash> {
    rates: Rates<ClientNet>,
    by_key: Mutex<HashMap<K, Weak<Turn<K>>>>,
    waiting: AtomicUsize,
}

/// How many fills a client may begin, and how long and how many may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// Fills a second of one client; 0: any number.
    pub(crate) client_fills: u32,
    /// How long one may wait.
    pub(crate) wait: Duration,
    /// How many may, of all clients together.
    pub(crate) waiting_max: usize,
}

/// When a fill may go on. It ends when the fill has its place among the fetches.
#[derive(Debug)]
pub(crate) struct Turn<K: Eq + Hash> {
    turns: Weak<Turns<K>>,
    key: Option<K>,
    at: Mutex<Instant>,
    urgent: AtomicBool,
    had_to_wait: bool,
    /// Told when the turn comes forward or becomes urgent; only the fill listens.
    changed: Notify,
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// Nobody has begun anything.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { rates: Rates::new(), by_key: Mutex::default(), waiting: AtomicUsize::new(0) })
    }

    /// A turn for a new fill of `key`, or the one that such a fill waits for already. Without a key it is nobody else's.
    ///
    /// # Errors
    /// When to ask again, if the client has begun too many.
    pub(crate) fn take(
        self: &Arc<Self>,
        key: Option<&K>,
        client: ClientNet,
        urgency: Urgency,
        allowed: Allowance,
    ) -> Result<Arc<Turn<K>>, Duration> {
        let mut by_key = self.by_key.lock();
        if let Some(turn) = key.and_then(|key| by_key.get(key)).and_then(Weak::upgrade) {
            drop(by_key);
            if urgency == Urgency::Request {
                self.bring_forward(&turn, client, allowed.client_fills);
            }
            return Ok(turn);
        }
        let is_crowded = self.waiting.load(Ordering::Relaxed) >= allowed.waiting_max;
        let wait = if is_crowded { Duration::ZERO } else { allowed.wait };
        let at = self.rates.reserve(client, allowed.client_fills, wait)?;
        let had_to_wait = at > Instant::now();
        self.waiting.fetch_add(usize::from(had_to_wait), Ordering::Relaxed);
        let turn = Arc::new(Turn {
            turns: Arc::downgrade(self),
            key: key.cloned(),
            at: Mutex::new(at),
            urgent: AtomicBool::new(urgency == Urgency::Request),
            had_to_wait,
            changed: Notify::new(),
        });
        if let Some(key) = key {
            by_key.insert(key.clone(), Arc::downgrade(&turn));
        }
        Ok(turn)
    }

    /// A client joins the fill of `key`, which may still wait for its turn.
    pub(crate) fn hasten(&self, key: &K, client: ClientNet, client_fills: u32) {
        let turn = self.by_key.lock().get(key).and_then(Weak::upgrade);
        if let Some(turn) = turn {
            self.bring_forward(&turn, client, client_fills);
        }
    }

    fn bring_forward(&self, turn: &Turn<K>, client: ClientNet, client_fills: u32) {
        let now = Instant::now();
        {
            let mut at = turn.at.lock();
            if *at > now
                && self.rates.next_turn(client, client_fills) < *at
                && let Ok(earlier) = self.rates.reserve(client, client_fills, *at - now)
            {
                *at = earlier;
            }
        }
        turn.urgent.store(true, Ordering::Relaxed);
        turn.changed.notify_one();
    }

    /// How many fills wait for their client's rate.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl<K: Eq + Hash> Turn<K> {
    /// Waits until it has come.
    pub(crate) async fn come(&self) {
        loop {
            let at = *self.at.lock();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(at) => return,
                () = self.changed.notified() => {}
            }
        }
    }

    /// Whether somebody waits for the fill.
    pub(crate) fn urgency(&self) -> Urgency {
        if self.urgent.load(Ordering::Relaxed) { Urgency::Request } else { Urgency::Background }
    }

    /// Told when [`Turn::urgency`] may have changed.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }
}

impl<K: Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(turns) = self.turns.upgrade() else { return };
        turns.waiting.fetch_sub(usize::from(self.had_to_wait), Ordering::Relaxed);
        let Some(key) = &self.key else { return };
        let mut by_key = turns.by_key.lock();
        // Another fill of the key may have begun meanwhile.
        if by_key.get(key).is_some_and(|turn| turn.strong_count() == 0) {
            by_key.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Allowance = Allowance { client_fills: 1, wait: Duration::from_secs(10), waiting_max: 1000 };
    const BUSY: ClientNet = ClientNet::V4(1);
    const OTHER: ClientNet = ClientNet::V4(2);

    /// Turns at one a second, of which the busy client has used up `used`.
    fn used_up(used: usize) -> (Arc<Turns<u32>>, Vec<Arc<Turn<u32>>>) {
        let turns = Turns::new();
        let taken = (0..used).map(|_| turns.take(None, BUSY, Urgency::Request, ONE).unwrap()).collect();
        (turns, taken)
    }

    async fn waited(turn: &Turn<u32>) -> u64 {
        let started = Instant::now();
        turn.come().await;
        started.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn the_excess_waits_in_its_own_clients_queue_and_then_is_refused() {
        let (turns, taken) = used_up(11);
        assert_eq!(turns.take(Some(&1), BUSY, Urgency::Request, ONE).unwrap_err(), Duration::from_secs(1));
        assert_eq!(turns.waiting(), 10);
        assert_eq!(waited(&turns.take(Some(&1), OTHER, Urgency::Request, ONE).unwrap()).await, 0);
        for turn in &taken {
            turn.come().await;
        }
        drop(taken);
        assert_eq!(turns.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_joins_pays_nothing_unless_it_brings_the_turn_forward() {
        let (turns, _taken) = used_up(5);
        let turn = turns.take(Some(&1), BUSY, Urgency::Request, ONE).unwrap();
        for _ in 0..100 {
            turns.hasten(&1, BUSY, 1);
            assert!(Arc::ptr_eq(&turn, &turns.take(Some(&1), BUSY, Urgency::Request, ONE).unwrap()));
        }
        let next = turns.take(Some(&2), BUSY, Urgency::Request, ONE).unwrap();
        assert_eq!(waited(&turn).await, 5);
        assert_eq!(waited(&next).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn another_client_waits_in_nobody_elses_queue() {
        let (turns, _taken) = used_up(10);
        let turn = turns.take(Some(&1), BUSY, Urgency::Background, ONE).unwrap();
        let waiting = tokio::spawn({
            let turn = Arc::clone(&turn);
            async move { waited(&turn).await }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(turn.urgency(), Urgency::Background);
        turns.hasten(&1, OTHER, 1);
        assert_eq!(waiting.await.unwrap(), 2);
        assert_eq!(turn.urgency(), Urgency::Request);
        // It was paid for by the one that needed it.
        let paid = turns.take(Some(&2), OTHER, Urgency::Request, ONE).unwrap();
        assert_eq!(waited(&paid).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_may_wait_and_no_more() {
        let turns = Turns::<u32>::new();
        let few = Allowance { waiting_max: 2, ..ONE };
        let _taken: Vec<_> = (0..3).map(|_| turns.take(None, BUSY, Urgency::Request, few).unwrap()).collect();
        assert!(turns.take(None, BUSY, Urgency::Request, few).is_err());
        // Who need not wait is not concerned.
        assert!(turns.take(None, OTHER, Urgency::Request, few).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn turns_that_are_over_leave_nothing_behind() {
        let (turns, _taken) = used_up(1);
        for key in 0..10 {
            drop(turns.take(Some(&key), OTHER, Urgency::Request, ONE).unwrap());
        }
        assert!(turns.by_key.lock().is_empty());
    }
}
