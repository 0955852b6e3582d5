//! Where Redis is: the settings, what is wrong with them, what they come to.

use std::path::{Path, PathBuf};

use ::redis::{ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RedisError;

/// Where Redis is: one of `url`, `sentinels` and `cluster`, or none of them for no Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://[user:password@]host:port/[database]`, `rediss://…` with TLS, or `redis+unix:///path`; empty: no such server.
    pub url: String,
    /// URLs of the Sentinels that know where the master is. TLS and database of the first one count for the master too; a
    /// user and password in them are the Sentinels' own.
    pub sentinels: Vec<String>,
    /// The name that the Sentinels give the master.
    pub master: String,
    /// URLs of some nodes of a Cluster; the others are found through them.
    pub cluster: Vec<String>,
    /// Name of the ACL user; empty: the one of the URL, or the default user.
    pub user: String,
    /// The user's password; empty: the one of the URL, or none.
    pub password: String,
    /// File with the password, read for each new connection.
    pub password_file: PathBuf,
    /// PEM file of the authority that signed the server's certificate. Empty: the system's authorities.
    pub ca_file: PathBuf,
    /// PEM file of the certificate that is shown to the server; empty: none.
    pub certificate: PathBuf,
    /// PEM file of that certificate's private key.
    pub key: PathBuf,
}

/// What the settings come to.
#[derive(Clone)]
pub(super) enum Target {
    /// One server.
    Single(ConnectionInfo),
    /// A master that others know of.
    Sentinel {
        /// Who know it.
        sentinels: Vec<ConnectionInfo>,
        /// Its name.
        master: String,
    },
    /// Some nodes of a Cluster.
    Cluster(Vec<ConnectionInfo>),
}

impl Target {
    /// For messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Single(_) => "server",
            Self::Sentinel { .. } => "sentinels",
            Self::Cluster(_) => "cluster",
        }
    }
}

/// Who we are to the server, and whom we trust.
#[derive(Clone)]
pub(super) struct Identity {
    /// The ACL user, where the settings name one.
    pub(super) user: Option<String>,
    /// The password, where the settings name one.
    pub(super) password: Option<String>,
    /// Certificates for `rediss`, where the settings name some.
    pub(super) certificates: Option<TlsCertificates>,
}

impl RedisSettings {
    /// Whether there is to be a Redis.
    pub fn is_configured(&self) -> bool {
        !self.url.is_empty() || !self.sentinels.is_empty() || !self.cluster.is_empty()
    }

    /// What the types cannot say; the answer names the setting, and never shows a URL, which may hold a password.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.target().map(drop)
    }

    pub(super) fn target(&self) -> Result<Option<Target>, String> {
        let ways = [!self.url.is_empty(), !self.sentinels.is_empty(), !self.cluster.is_empty()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err("redis: name one of redis.url, redis.sentinels and redis.cluster".into());
        }
        if !self.password.is_empty() && !self.password_file.as_os_str().is_empty() {
            return Err("redis.password_file: redis.password is named as well".into());
        }
        if self.certificate.as_os_str().is_empty() != self.key.as_os_str().is_empty() {
            return Err("redis.certificate: it needs redis.key, and the other way round".into());
        }
        let target = self.kind()?;
        if let Some(target) = &target {
            self.check_tls(target)?;
        }
        Ok(target)
    }

    fn kind(&self) -> Result<Option<Target>, String> {
        let all = |key: &str, urls: &[String]| -> Result<Vec<ConnectionInfo>, String> {
            urls.iter().enumerate().map(|(at, url)| parse(&format!("redis.{key}[{at}]"), url)).collect()
        };
        if !self.url.is_empty() {
            return Ok(Some(Target::Single(parse("redis.url", &self.url)?)));
        }
        if !self.sentinels.is_empty() {
            if self.master.is_empty() {
                return Err("redis.master: the Sentinels must be told the master's name".into());
            }
            let sentinels = all("sentinels", &self.sentinels)?;
            return Ok(Some(Target::Sentinel { sentinels, master: self.master.clone() }));
        }
        if !self.cluster.is_empty() {
            let nodes = all("cluster", &self.cluster)?;
            if nodes.iter().any(|node| node.redis_settings().db() != 0) {
                return Err("redis.cluster: a Cluster has no other database than 0".into());
            }
            return Ok(Some(Target::Cluster(nodes)));
        }
        Ok(None)
    }

    fn check_tls(&self, target: &Target) -> Result<(), String> {
        let servers = match target {
            Target::Single(server) => std::slice::from_ref(server),
            Target::Sentinel { sentinels: servers, .. } | Target::Cluster(servers) => servers,
        };
        let is_tls = |server: &ConnectionInfo| matches!(server.addr(), ConnectionAddr::TcpTls { .. });
        let names_files = !self.ca_file.as_os_str().is_empty() || !self.certificate.as_os_str().is_empty();
        if names_files && !servers.iter().all(is_tls) {
            return Err("redis.ca_file, redis.certificate: only for rediss:// URLs".into());
        }
        Ok(())
    }

    /// Reads the files.
    pub(super) async fn identity(&self) -> Result<Identity, RedisError> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut password = some(&self.password);
        if let Some(file) = named(&self.password_file) {
            let text = String::from_utf8(read(file).await?);
            let text = text.map_err(|_| RedisError(format!("{}: the password is no text", file.display())))?;
            password = some(text.trim_end_matches(['\r', '\n']));
        }
        let root_cert = match named(&self.ca_file) {
            Some(file) => Some(read(file).await?),
            None => None,
        };
        let client_tls = match (named(&self.certificate), named(&self.key)) {
            (Some(certificate), Some(key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate).await?, client_key: read(key).await? })
            }
            _ => None,
        };
        let has_files = root_cert.is_some() || client_tls.is_some();
        let certificates = has_files.then_some(TlsCertificates { client_tls, root_cert });
        Ok(Identity { user: some(&self.user), password, certificates })
    }
}

fn named(file: &Path) -> Option<&Path> {
    (!file.as_os_str().is_empty()).then_some(file)
}

async fn read(file: &Path) -> Result<Vec<u8>, RedisError> {
    tokio::fs::read(file).await.map_err(|error| RedisError(format!("{}: {error}", file.display())))
}

fn parse(key: &str, url: &str) -> Result<ConnectionInfo, String> {
    // The client's own message may show the URL, and with it a password.
    url.into_connection_info().map_err(|_| format!("{key}: expected redis://host:port or rediss://host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut RedisSettings)) -> RedisSettings {
        let mut settings = RedisSettings::default();
        change(&mut settings);
        settings
    }

    #[test]
    fn one_way_is_named_or_none() {
        let kind = |settings: RedisSettings| settings.target().unwrap().map(|target| target.kind());
        assert_eq!(kind(RedisSettings::default()), None);
        assert_eq!(kind(settings(|s| s.url = "rediss://u:p@h:1/2".into())), Some("server"));
        assert_eq!(kind(settings(|s| s.url = "redis+unix:///tmp/s".into())), Some("server"));
        let sentinel = settings(|s| (s.sentinels, s.master) = (vec!["redis://h:26379".into()], "m".into()));
        assert_eq!(kind(sentinel), Some("sentinels"));
        assert_eq!(kind(settings(|s| s.cluster = vec!["redis://a".into(), "redis://b".into()])), Some("cluster"));
    }

    #[test]
    fn a_wrong_setting_is_named_and_a_password_is_not_shown() {
        let one = |s: &mut RedisSettings| s.url = "redis://h".into();
        for (wrong, key) in [
            (settings(|s| s.url = "secret".into()), "redis.url: "),
            (settings(|s| s.sentinels = vec!["redis://h".into()]), "redis.master: "),
            (settings(|s| s.cluster = vec!["redis://h".into(), "secret".into()]), "redis.cluster[1]: "),
            (settings(|s| s.cluster = vec!["redis://h/3".into()]), "redis.cluster: "),
            (settings(|s| (s.url, s.cluster) = ("redis://h".into(), vec!["redis://h".into()])), "redis: "),
            (
                settings(|s| {
                    one(s);
                    (s.password, s.password_file) = ("secret".into(), "f".into());
                }),
                "redis.password_file: ",
            ),
            (
                settings(|s| {
                    one(s);
                    s.certificate = "c".into();
                }),
                "redis.certificate: ",
            ),
            (
                settings(|s| {
                    one(s);
                    s.ca_file = "c".into();
                }),
                "redis.ca_file, ",
            ),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(error.starts_with(key) && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_password_file_is_read_each_time_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let settings = settings(|s| s.password_file.clone_from(&file));
        assert!(settings.identity().await.is_err());
        for password in ["first", "second"] {
            std::fs::write(&file, format!("{password}\n")).unwrap();
            assert_eq!(settings.identity().await.unwrap().password.as_deref(), Some(password));
        }
    }
}
