//! Servers that have nothing to do: a loop that turns without need would be seen nowhere else.

use std::time::Duration;

use modtier_tests::{Cluster, Origin, Process};

/// How long the servers are watched.
const WATCHED: Duration = Duration::from_secs(3);

/// What one of them may use of that: a loop takes all of it, heartbeats and probes a few milliseconds.
const USED_MAX: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_work_leave_the_processor_alone() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).with_redis().start().await;
    let servers = [("center", &cluster.center), ("edge", &cluster.edge), ("syncer", cluster.syncer.as_ref().unwrap())];
    let before = servers.map(|(_, server)| processor_time(server));
    tokio::time::sleep(WATCHED).await;
    for ((name, server), before) in servers.into_iter().zip(before) {
        let used = processor_time(server).saturating_sub(before);
        assert!(used <= USED_MAX, "{name} used {used:?} of {WATCHED:?}:\n{}", server.log());
    }
}

/// User and system time of a process, from proc(5): fields 14 and 15 of `stat`, in hundredths of a second.
fn processor_time(server: &Process) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    let ticks = behind_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}
