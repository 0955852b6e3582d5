//! Redis as edge and syncer reach it: one server, a master behind Sentinels, or a Cluster; with an ACL user and TLS.
//!
//! Nothing here reconnects by itself: whoever holds a connection has to find his place again when it breaks, and asks for a new
//! one. Passwords stand in no message: those of the client are replaced where they could hold a URL.

mod connection;
mod sentinel;
mod settings;

use std::time::Duration;

pub use self::connection::Connection;
pub use self::settings::RedisSettings;
use self::settings::Target;
use crate::tls::install_provider;

/// Why there is no connection, in words for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("redis: {0}")]
pub struct RedisError(pub(crate) String);

/// Where Redis is, and how to get in.
#[derive(Clone)]
pub struct Redis {
    settings: RedisSettings,
    target: Target,
}

impl std::fmt::Debug for Redis {
    /// Without what may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("kind", &self.target.kind()).finish_non_exhaustive()
    }
}

impl Redis {
    /// Redis by its settings; none where there is to be none.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn new(settings: &RedisSettings) -> Result<Option<Self>, String> {
        let target = settings.target()?;
        Ok(target.map(|target| Self { settings: settings.clone(), target }))
    }

    /// The name of a repository's key. In a Cluster all keys of a repository lie in one slot, because scripts use them together.
    pub fn key(&self, kind: &str, repository: &str) -> String {
        match &self.target {
            Target::Cluster(_) => format!("{kind}:{{{repository}}}"),
            Target::Single(_) | Target::Sentinel { .. } => format!("{kind}:{repository}"),
        }
    }

    /// A new connection, on which each answer may take up to `answer`. Files of passwords and certificates are read now.
    ///
    /// # Errors
    /// When the server, or who knows where it is, cannot be reached or refuses.
    pub async fn connect(&self, answer: Duration) -> Result<Connection, RedisError> {
        install_provider();
        let identity = self.settings.identity().await?;
        match &self.target {
            Target::Single(server) => connection::single(server.clone(), &identity, answer).await,
            Target::Sentinel { sentinels, master } => sentinel::master(sentinels, master, &identity, answer).await,
            Target::Cluster(nodes) => connection::cluster(nodes, &identity, answer).await,
        }
    }
}
