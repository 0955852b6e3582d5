//! What goes wrong, at random, one thing after another and some at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::AsyncCommands as _;

use super::config;
use super::figures::Figures;
use crate::{Fault, LoneEdge, Origin, RedisServer, Seed};

/// The relay's sign of life, and the record that it is at.
const HEARTBEAT: &str = "relay:golang-virtual";
const HEAD: &str = crate::origin::CHANGE_HEAD;

/// Two centers and Redis, and what is done to them.
pub(super) struct Disturbances {
    centers: [Origin; 2],
    is_down: [bool; 2],
    redis: RedisServer,
    random: Seed,
}

impl Disturbances {
    pub(super) fn new(centers: [Origin; 2], redis: RedisServer, seed: u64) -> Self {
        Self { centers, is_down: [false; 2], redis, random: Seed::of(!seed) }
    }

    /// Disturbs until the time is over.
    pub(super) async fn run(&mut self, edge: &LoneEdge, figures: &Figures, ends_at: Instant) {
        while Instant::now() < ends_at {
            self.relay_lives().await;
            match self.random.within(0..12) {
                0 => {
                    figures.disturbed("both centers down");
                    self.take_down(0).await;
                    self.take_down(1).await;
                }
                1 | 2 => {
                    figures.disturbed("a center down");
                    let which = self.which();
                    self.take_down(which).await;
                }
                3 => {
                    figures.disturbed("Redis killed and started again");
                    self.redis.kill9();
                    self.pause(200..1500, ends_at).await;
                    self.redis.restart().await;
                }
                4 => {
                    figures.disturbed("reload");
                    let seconds = self.random.within(1..3);
                    edge.write_config(&config(&self.redis.url(), seconds));
                    edge.process.signal("HUP");
                }
                _ => {
                    let (which, part, fault) = (self.which(), self.part(), self.fault());
                    figures.disturbed(name_of(&fault));
                    self.centers[which].fault(part, fault);
                }
            }
            self.pause(300..2000, ends_at).await;
            // Half of the time the next trouble comes on top of this one.
            if self.random.within(0..2) == 0 {
                figures.disturbed("none for a while");
                self.end(false).await;
                self.pause(300..1500, ends_at).await;
            }
        }
    }

    /// Ends every disturbance; with `hang_up` the centers also close every connection, so that none is left of the past.
    pub(super) async fn end(&mut self, hang_up: bool) {
        for which in 0..2 {
            self.centers[which].heal();
            if hang_up {
                self.take_down(which).await;
            }
            if std::mem::take(&mut self.is_down[which]) {
                self.centers[which].come_back();
            }
            // Nobody reads what it was asked, and in an hour that is much.
            self.centers[which].forget();
        }
    }

    async fn take_down(&mut self, which: usize) {
        if !self.is_down[which] {
            self.centers[which].go_down().await;
            self.is_down[which] = true;
        }
    }

    fn which(&mut self) -> usize {
        self.random.choice(&[0, 1])
    }

    async fn pause(&mut self, milliseconds: std::ops::Range<u64>, ends_at: Instant) {
        let pause = Duration::from_millis(self.random.within(milliseconds));
        tokio::time::sleep(pause.min(ends_at.saturating_duration_since(Instant::now()))).await;
    }

    /// Where: everything, health and changes among it, or some artefacts.
    fn part(&mut self) -> &'static str {
        self.random.choice(&["", "", ".zip", ".zip", ".mod", ".info", "@v/list", "/m1", "/m2"])
    }

    fn fault(&mut self) -> Fault {
        let at = self.drawn(150_000);
        match self.random.within(0..14) {
            0 | 1 => Fault::Stall(at),
            2 => Fault::Stall(0),
            3 | 4 => Fault::Truncate(at),
            5 => Fault::TruncateChunked(at),
            6 => Fault::Reset(at),
            7 => Fault::ResetAtOnce,
            8 | 9 => Fault::Flip(at),
            10 => Fault::Replace(Bytes::from_static(b"<html>log in to the hotel's network</html>")),
            11 => Fault::Status(self.random.choice(&[500, 502, 503, 504])),
            12 => Fault::Slow(200_000),
            _ => Fault::Delay(Duration::from_millis(self.random.within(100..4000))),
        }
    }

    fn drawn(&mut self, end: u64) -> usize {
        usize::try_from(self.random.within(0..end)).expect("a small number")
    }

    /// Plays the relay, so that the edge follows the stream whenever Redis is there.
    async fn relay_lives(&self) {
        let Ok(client) = redis::Client::open(self.redis.url()) else { return };
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return };
        let _: Result<(), _> = connection.set_ex(HEARTBEAT, HEAD, 10).await;
        // Refused where it is there already.
        let record = [("event_type", "UPDATE"), ("kind", "list"), ("module_id", "soak.example/m0")];
        let _: Result<String, _> = connection.xadd("meta:golang-virtual", HEAD, &record).await;
    }
}

fn name_of(fault: &Fault) -> &'static str {
    match fault {
        Fault::Stall(_) => "stall",
        Fault::Truncate(_) | Fault::TruncateChunked(_) => "cut short",
        Fault::Reset(_) | Fault::ResetAtOnce => "reset",
        Fault::Flip(_) | Fault::Replace(_) => "wrong bytes",
        Fault::Status(_) | Fault::TooMany(_) => "server error",
        Fault::Answer(..) | Fault::Endless(_) => "another answer",
        Fault::Slow(_) => "slow",
        Fault::Delay(_) => "late",
    }
}
