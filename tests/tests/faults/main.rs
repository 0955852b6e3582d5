//! What breaks: origins, centers, disks, processes and power. No wrong body, nothing lost, and it heals by itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod clock;
mod crowd;
mod disk_trouble;
mod failover;
mod hanging;
mod kills;
mod origin;
mod outage;
mod power_loss;
mod soak;
