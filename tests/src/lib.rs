//! The test harness: real binaries on free ports in temporary directories, a real redis-server, the real `go` command, and an
//! origin of ours that serves modules built in the test and can be told to misbehave.
//!
//! A test reads like this:
//!
//! ```no_run
//! # async fn example() {
//! use modtier_tests::{Cluster, GoClient, Module, Origin};
//! let origin = Origin::start().await;
//! origin.publish(&Module::new("example.com/a", "v1.0.0").file("a.go", "package a\n").build());
//! let cluster = Cluster::of(&origin).start().await;
//! let go = GoClient::new(&cluster.goproxy());
//! go.ok(&["mod", "download", "example.com/a@v1.0.0"]).await;
//! # }
//! ```

mod authority;
mod azure_server;
mod cluster;
mod deadline;
mod fleet;
pub mod forge;
pub mod frames;
mod go_client;
mod google_server;
pub mod gosuite;
mod keep_alive;
mod lone_edge;
mod module_zip;
mod object_server;
pub mod objects;
pub mod oracle;
mod origin;
mod played;
mod postgres_server;
mod process;
pub mod raw;
pub mod raw_zip;
mod redis_server;
mod sandbox;
mod seed;
mod slow_line;
pub mod soak;
mod wall_clock;
mod web;

pub use authority::Authority;
pub use azure_server::AzureServer;
pub use cluster::{Cluster, ClusterBuilder};
pub use deadline::{until, until_some};
pub use fleet::{Fleet, FleetEdge};
pub use go_client::{GoClient, GoOutput, public_mirror};
pub use google_server::GoogleServer;
pub use keep_alive::KeepAlive;
pub use lone_edge::{LoneEdge, LoneEdgeBuilder};
pub use module_zip::{BuiltModule, Module, hash1, pseudo_version};
pub use object_server::ObjectServer;
pub use origin::{Face, Fault, Origin, Seen};
pub use played::{Compared, PlayedCenter};
pub use postgres_server::PostgresServer;
pub use process::{Process, ProcessSpec, binary, command_line, workspace};
pub use redis_server::{RedisServer, free_port};
pub use sandbox::Sandbox;
pub use seed::Seed;
pub use slow_line::SlowLine;
pub use wall_clock::WallClock;
pub use web::{Reply, Web};
