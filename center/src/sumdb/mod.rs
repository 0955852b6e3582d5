//! Checksum databases: proxied for the `go` command, and asked by the center itself before it keeps a public module.
//!
//! ```text
//! go ──sumdb/<name>/lookup/…──▶ Sumdb::answer ──▶ Origin (store, single flight) ──▶ upstream
//! golang-remote ──Verifier──▶ Database (signed heads, tiles, history) ──▶ the same Origin
//! ```
//! The proxy passes bytes on as they are: the `go` command checks them itself, with a key of its own.

mod database;
mod note;
mod origin;
mod proven_tree;
mod record;
#[cfg(test)]
pub(crate) mod test_log;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::client::ClientOptions;
use shared::module::{ModulePath, Patterns, Version};
use shared::request::{SumdbPart, SumdbRequest};

use self::database::{Database, DatabaseError};
pub(crate) use self::note::NoteError;
use self::note::NoteKey;
pub(crate) use self::origin::OriginError;
use self::origin::{Origin, Upstream};
pub(crate) use self::record::Record;
pub(crate) use self::tree::{TILE_WIDTH, TreeHead};
use crate::repository::{Proof, TOOLCHAIN, Verdict, Verifier, VerifyError};
use crate::store::Store;
use crate::upstream::outbound::Outbound;

/// The key of the public checksum database, as the `go` command has it built in.
pub(crate) const PUBLIC_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

/// The name of the database in a key `name+hash+base64`, if it is one.
pub(crate) fn name_of_key(text: &str) -> Result<String, NoteError> {
    NoteKey::parse(text).map(|key| key.name().to_owned())
}

/// One database to proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseConfig {
    /// Its name, as in `sumdb/<name>/…`.
    pub(crate) name: String,
    /// The URL below which it answers `/lookup/…`. None: only what is held can be answered.
    pub(crate) base: Option<String>,
    /// `name+hash+base64`; without it nothing is verified against this database.
    pub(crate) public_key: Option<String>,
}

/// Why a checksum database's answer cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SumdbError {
    /// It is not proxied here; the `go` command then asks it directly.
    NotProxied(String),
    /// The module is a private one, and its name stays here.
    Private(String),
    /// No database has such a path.
    NoSuchPath(String),
    /// The upstream has no answer.
    Origin(OriginError),
}

/// What is answered, without saying how HTTP puts it.
#[derive(Debug)]
pub(crate) struct SumdbAnswer {
    /// The bytes of the database.
    pub(crate) body: Bytes,
    /// Whether nobody was asked for it.
    pub(crate) held: bool,
}

/// What to do while the database that verifies cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outage {
    /// Nothing is served that is not verified: 503.
    #[default]
    Wait,
    /// What was asked for is served and not kept; the answer is marked.
    Unverified,
}

/// What is verified.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Whether public modules are. A toolchain always is.
    pub(crate) verify: bool,
    /// Modules of remote repositories that no database speaks for.
    pub(crate) exempt: Patterns,
    /// What to do while the database cannot be asked.
    pub(crate) outage: Outage,
}

/// How databases are asked.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Credentials by host.
    pub(crate) outbound: &'a Outbound,
    /// How this center calls itself.
    pub(crate) via: &'a HeaderValue,
}

/// All proxied databases.
pub(crate) struct Sumdb {
    origins: BTreeMap<String, Arc<Origin>>,
    /// The database that public modules are verified against.
    verifying: Option<Database>,
    policy: Policy,
}

impl Sumdb {
    /// Builds the proxies; hashes are checked against the first database whose key is known.
    pub(crate) fn new(
        databases: &[DatabaseConfig],
        policy: Policy,
        line: &Line<'_>,
        store: &Store,
    ) -> Result<Self, String> {
        let clients = line.outbound.clients(ClientOptions { redirects_max: 3, ..ClientOptions::default() })?;
        let mut origins = BTreeMap::new();
        let mut verifying = None;
        for database in databases {
            let wrong = |error: &dyn std::fmt::Display| format!("checksum database {:?}: {error}", database.name);
            let upstream = match &database.base {
                None => None,
                Some(base) => {
                    let base = Url::parse(base).map_err(|error| wrong(&error))?;
                    let client = clients.of(&base).clone();
                    let authorization = line.outbound.authorization(&base).cloned();
                    Some(Upstream { base, client, authorization, via: line.via.clone() })
                }
            };
            let origin = Arc::new(Origin::new(&database.name, upstream, store.clone()));
            if let (None, Some(key)) = (&verifying, &database.public_key) {
                let key = NoteKey::parse(key).map_err(|error| wrong(&error))?;
                verifying = Some(Database::new(key, Arc::clone(&origin)));
            }
            origins.insert(database.name.clone(), origin);
        }
        Ok(Self { origins, verifying, policy })
    }

    /// Answers `sumdb/<name>/…`. `is_private` says whether a module's name must stay in the house.
    pub(crate) async fn answer(
        &self,
        request: &SumdbRequest,
        is_private: impl Fn(&ModulePath) -> bool,
    ) -> Result<SumdbAnswer, SumdbError> {
        let name = &request.name;
        // Before all else: whether the database is proxied or not, a private name is not to be sent anywhere.
        if let SumdbPart::Lookup { module, .. } = &request.part
            && is_private(module)
        {
            return Err(SumdbError::Private(format!("module {module} is private")));
        }
        if let SumdbPart::Tile(tile) = &request.part
            && tile.strip_prefix("tile/").and_then(tree::tile_body).is_none()
        {
            return Err(SumdbError::NoSuchPath(format!("{tile} is no tile")));
        }
        let Some(origin) = self.origins.get(name) else {
            return Err(SumdbError::NotProxied(format!("checksum database {name:?} is not proxied here")));
        };
        if request.part == SumdbPart::Supported {
            return Ok(SumdbAnswer { body: Bytes::new(), held: true });
        }
        let fetched = origin.get(&request.part.to_string()).await.map_err(SumdbError::Origin)?;
        Ok(SumdbAnswer { body: fetched.body, held: fetched.held })
    }
}

impl Sumdb {
    /// Keeps a lookup or a tile that was brought from elsewhere, unless one is held. It is believed no more than what an upstream
    /// sends: whoever uses it proves it first.
    pub(crate) async fn take_in(&self, request: &SumdbRequest, body: Bytes) -> Result<bool, SumdbError> {
        let Some(origin) = self.origins.get(&request.name) else {
            return Err(SumdbError::NotProxied(format!("checksum database {:?} is not proxied here", request.name)));
        };
        origin.take_in(&request.part.to_string(), body).await.map_err(SumdbError::Origin)
    }
}

/// Whether a database cannot be asked at present, as opposed to saying something that is wrong.
const fn is_away(error: &DatabaseError) -> bool {
    matches!(
        error,
        DatabaseError::Origin(OriginError::Unavailable { .. } | OriginError::Timeout(_) | OriginError::Wrong(_))
    )
}

impl Sumdb {
    /// The database that speaks for a module, if one does.
    fn database_for(&self, module: &ModulePath) -> Result<Option<&Database>, VerifyError> {
        // A toolchain is run by whoever downloads it; the `go` command too verifies it whatever GONOSUMDB says.
        if module.as_str() == TOOLCHAIN {
            let why = "is served only if a checksum database proves it, and none with a known key is configured";
            let missing = || VerifyError::Impossible(format!("{TOOLCHAIN} {why} (sumdb.names)"));
            return self.verifying.as_ref().ok_or_else(missing).map(Some);
        }
        let is_covered = self.policy.verify && !self.policy.exempt.matches(module.as_str());
        Ok(self.verifying.as_ref().filter(|_| is_covered))
    }

    fn serves_unverified(&self, module: &ModulePath) -> bool {
        self.policy.outage == Outage::Unverified && module.as_str() != TOOLCHAIN
    }
}

fn lookup_of(module: &ModulePath, version: &Version) -> String {
    format!("{}@{}", module.escaped(), version.escaped())
}

#[async_trait]
impl Verifier for Sumdb {
    async fn check(&self, module: &ModulePath, version: &Version, what: Proof<'_>) -> Result<Verdict, VerifyError> {
        let Some(database) = self.database_for(module)? else { return Ok(Verdict::NotCovered) };
        let (stated, hash) = match what {
            Proof::Zip { h1 } => (version.to_string(), h1),
            Proof::Mod { h1 } => (format!("{version}/go.mod"), h1),
        };
        match database.check(&lookup_of(module, version), module.as_str(), &stated, hash).await {
            Ok(()) => Ok(Verdict::Verified),
            Err(error) if is_away(&error) && self.serves_unverified(module) => {
                tracing::warn!(target: "audit", %module, %version, %error, "served without having been verified");
                Ok(Verdict::Unverified)
            }
            Err(error) => Err(match &error {
                DatabaseError::Unknown(_) | DatabaseError::Mismatch(_) => VerifyError::Mismatch(error.to_string()),
                DatabaseError::Unproven { .. } | DatabaseError::Forked(_) | DatabaseError::Origin(_) => {
                    VerifyError::Unavailable(error.to_string())
                }
            }),
        }
    }

    async fn is_away(&self, module: &ModulePath, version: &Version) -> bool {
        match self.database_for(module) {
            Ok(Some(database)) if self.serves_unverified(module) => database.is_away(&lookup_of(module, version)).await,
            _ => false,
        }
    }
}
