//! Fetches from centers: so many at one time, the rest in two lines of bounded length.
//!
//! What somebody waits for goes before what nobody waits for; within a line the first comes first. A place is handed from the
//! fetch that ends to the one that is next, so nobody can push in between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Whether somebody waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A client waits.
    Request,
    /// A refresh or a pre-warming.
    Background,
}

/// The places and the two lines.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: usize,
    taken: usize,
    requests: VecDeque<Waiting>,
    background: VecDeque<Waiting>,
    next_number: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    handed: oneshot::Sender<Place>,
}

/// How many places, and how long the lines. They may change from one fetch to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    /// Fetches at one time.
    pub(crate) places: usize,
    /// How many may stand in each line.
    pub(crate) line_max: usize,
    /// How long one may stand there.
    pub(crate) wait: Duration,
}

/// A place among the fetches; dropped, it goes to the next in line.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Option<Arc<Queue>>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The line is as long as it may be.
    Full,
    /// The time to wait is over.
    TooLong,
}

/// A fetch in line; dropped, it leaves the line.
struct InLine<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Queue {
    /// Nobody is there.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Waits for a place. `urgency` is asked again whenever `changed` says so.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        urgency: impl Fn() -> Urgency,
        changed: &tokio::sync::Notify,
        limits: QueueLimits,
    ) -> Result<Place, NoPlace> {
        self.hand_out(limits.places);
        let (number, mut handed) = {
            let mut state = self.state.lock();
            if state.taken < state.places {
                state.taken += 1;
                return Ok(Place { queue: Some(Arc::clone(self)) });
            }
            state.line_up(urgency(), limits.line_max)?
        };
        let in_line = InLine { queue: self, number };
        let until = tokio::time::sleep_until(Instant::now() + limits.wait);
        tokio::pin!(until);
        loop {
            tokio::select! {
                biased;
                place = &mut handed => return place.map_err(|_| NoPlace::TooLong),
                () = &mut until => return Err(NoPlace::TooLong),
                () = changed.notified() => {
                    if urgency() == Urgency::Request {
                        in_line.promote();
                    }
                }
            }
        }
    }

    /// Sets the number of places; those that are new go to whoever waits. Fetches that have a place keep it.
    fn hand_out(self: &Arc<Self>, places: usize) {
        let more = {
            let mut state = self.state.lock();
            state.places = places;
            let more = places.saturating_sub(state.taken).min(state.requests.len() + state.background.len());
            state.taken += more;
            more
        };
        // Dropping a place hands it on.
        for _ in 0..more {
            drop(Place { queue: Some(Arc::clone(self)) });
        }
    }

    /// How many stand in line: for requests, and in the background.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.requests.len(), state.background.len())
    }
}

impl State {
    fn line_up(&mut self, urgency: Urgency, line_max: usize) -> Result<(u64, oneshot::Receiver<Place>), NoPlace> {
        let line = match urgency {
            Urgency::Request => &mut self.requests,
            Urgency::Background => &mut self.background,
        };
        if line.len() >= line_max {
            return Err(NoPlace::Full);
        }
        let (sender, handed) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        line.push_back(Waiting { number, handed: sender });
        Ok((number, handed))
    }

    /// Whoever is next; without anyone, or with fewer places than are taken, the place is free.
    fn next(&mut self) -> Option<Waiting> {
        if self.taken > self.places {
            self.taken -= 1;
            return None;
        }
        let next = self.requests.pop_front().or_else(|| self.background.pop_front());
        if next.is_none() {
            self.taken -= 1;
        }
        next
    }
}

impl InLine<'_> {
    /// Moves from the line in the background to the end of the other one.
    fn promote(&self) {
        let state = &mut *self.queue.state.lock();
        if let Some(at) = state.background.iter().position(|waiting| waiting.number == self.number)
            && let Some(waiting) = state.background.remove(at)
        {
            state.requests.push_back(waiting);
        }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let state = &mut *self.queue.state.lock();
        for line in [&mut state.requests, &mut state.background] {
            if let Some(at) = line.iter().position(|waiting| waiting.number == self.number) {
                line.remove(at);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        loop {
            let Some(next) = queue.state.lock().next() else { return };
            match next.handed.send(Self { queue: Some(Arc::clone(&queue)) }) {
                Ok(()) => return,
                // Gone just now: the one behind it is next. The place is still taken, so it must not free itself here.
                Err(mut unwanted) => unwanted.queue = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    const fn places(places: usize, line_max: usize) -> QueueLimits {
        QueueLimits { places, line_max, wait: Duration::from_secs(10) }
    }

    async fn enter(queue: &Arc<Queue>, urgency: Urgency, limits: QueueLimits) -> Result<Place, NoPlace> {
        queue.enter(|| urgency, &Notify::new(), limits).await
    }

    /// Lets spawned tasks run until all that can stands in line.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_go_before_the_background_and_each_line_in_order() {
        const LIMITS: QueueLimits = places(1, 10);
        let queue = Queue::new();
        let first = enter(&queue, Urgency::Request, LIMITS).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, urgency) in [
            ("refresh 1", Urgency::Background),
            ("refresh 2", Urgency::Background),
            ("request 1", Urgency::Request),
            ("request 2", Urgency::Request),
        ] {
            let (queue, order) = (Arc::clone(&queue), Arc::clone(&order));
            tokio::spawn(async move {
                let _place = enter(&queue, urgency, LIMITS).await.unwrap();
                order.lock().push(name);
            });
            settle().await;
        }
        assert_eq!((queue.waiting(), order.lock().len()), ((2, 2), 0));
        drop(first);
        settle().await;
        assert_eq!(*order.lock(), ["request 1", "request 2", "refresh 1", "refresh 2"]);
        assert_eq!(queue.state.lock().taken, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_that_somebody_begins_to_wait_for_moves_over() {
        const LIMITS: QueueLimits = places(1, 10);
        let queue = Queue::new();
        let first = enter(&queue, Urgency::Request, LIMITS).await.unwrap();
        let urgent = Arc::new((std::sync::atomic::AtomicBool::new(false), Notify::new()));
        let (line, asked) = (Arc::clone(&queue), Arc::clone(&urgent));
        let promoted = tokio::spawn(async move {
            let urgency = || {
                let is_urgent = asked.0.load(std::sync::atomic::Ordering::SeqCst);
                if is_urgent { Urgency::Request } else { Urgency::Background }
            };
            line.enter(urgency, &asked.1, LIMITS).await
        });
        settle().await;
        assert_eq!(queue.waiting(), (0, 1));
        urgent.0.store(true, std::sync::atomic::Ordering::SeqCst);
        urgent.1.notify_one();
        settle().await;
        assert_eq!(queue.waiting(), (1, 0));
        drop(first);
        assert!(promoted.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_has_an_end_and_so_has_waiting() {
        const LIMITS: QueueLimits = places(2, 3);
        let queue = Queue::new();
        let _held = [
            enter(&queue, Urgency::Request, LIMITS).await.unwrap(),
            enter(&queue, Urgency::Request, LIMITS).await.unwrap(),
        ];
        let started = Instant::now();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move { enter(&queue, Urgency::Request, LIMITS).await })
            })
            .collect();
        settle().await;
        assert_eq!(enter(&queue, Urgency::Request, LIMITS).await.unwrap_err(), NoPlace::Full);
        assert_eq!(started.elapsed(), Duration::ZERO);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().unwrap_err(), NoPlace::TooLong);
        }
        assert_eq!((started.elapsed().as_secs(), queue.waiting()), (10, (0, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_place_is_lost_by_those_who_leave_the_line() {
        const LIMITS: QueueLimits = places(2, 100);
        let queue = Queue::new();
        for round in 0..50 {
            let held = [
                enter(&queue, Urgency::Request, LIMITS).await.unwrap(),
                enter(&queue, Urgency::Request, LIMITS).await.unwrap(),
            ];
            let waiting: Vec<_> = (0..10)
                .map(|_| {
                    let queue = Arc::clone(&queue);
                    tokio::spawn(async move { enter(&queue, Urgency::Request, LIMITS).await.map(drop) })
                })
                .collect();
            settle().await;
            // Some leave before, some just after the place was handed to them.
            waiting[round % 10].abort();
            drop(held);
            waiting[(round + 1) % 10].abort();
            for waiting in waiting {
                let _ = waiting.await;
            }
            assert_eq!(queue.state.lock().taken, 0, "{round}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn places_may_become_more_and_fewer() {
        let queue = Queue::new();
        let first = enter(&queue, Urgency::Request, places(1, 10)).await.unwrap();
        let line = Arc::clone(&queue);
        let second = tokio::spawn(async move { enter(&line, Urgency::Request, places(1, 10)).await });
        settle().await;
        // Whoever comes next brings the new number with it.
        let third = enter(&queue, Urgency::Request, places(3, 10)).await.unwrap();
        let second = second.await.unwrap().unwrap();
        assert_eq!(enter(&queue, Urgency::Request, places(1, 0)).await.unwrap_err(), NoPlace::Full);
        drop((first, third));
        assert_eq!(enter(&queue, Urgency::Request, places(1, 0)).await.unwrap_err(), NoPlace::Full);
        drop(second);
        assert!(enter(&queue, Urgency::Request, places(1, 0)).await.is_ok());
    }
}
