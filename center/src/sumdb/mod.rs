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
use shared::module::{ModulePath, Patterns, Version};
use shared::request::{SumdbPart, SumdbRequest};

use self::database::{Database, DatabaseError};
pub(crate) use self::note::NoteError;
use self::note::NoteKey;
use self::origin::Origin;
pub(crate) use self::origin::OriginError;
pub(crate) use self::record::Record;
pub(crate) use self::tree::{TILE_WIDTH, TreeHead};
use crate::repository::{Proof, Verdict, Verifier, VerifyError};
use crate::store::Store;

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

/// All proxied databases.
pub(crate) struct Sumdb {
    origins: BTreeMap<String, Option<Arc<Origin>>>,
    /// The database that public modules are verified against.
    verifying: Option<Database>,
    /// Modules of remote repositories that no database speaks for.
    exempt: Patterns,
}

impl Sumdb {
    /// Builds the proxies; with `verify`, hashes are checked against the first database whose key is known.
    pub(crate) fn new(
        databases: &[DatabaseConfig],
        verify: bool,
        exempt: Patterns,
        client: &reqwest::Client,
        via: &HeaderValue,
        store: &Store,
    ) -> Result<Self, NoteError> {
        let mut origins = BTreeMap::new();
        let mut verifying = None;
        for database in databases {
            let origin = database
                .base
                .as_ref()
                .map(|base| Arc::new(Origin::new(&database.name, base, client.clone(), via.clone(), store.clone())));
            if let (true, None, Some(origin), Some(key)) = (verify, &verifying, &origin, &database.public_key) {
                verifying = Some(Database::new(NoteKey::parse(key)?, Arc::clone(origin)));
            }
            origins.insert(database.name.clone(), origin);
        }
        Ok(Self { origins, verifying, exempt })
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
        let Some(origin) = origin else {
            let message = format!("checksum database {name:?} has no upstream");
            let retry_after = std::time::Duration::from_mins(1);
            return Err(SumdbError::Origin(OriginError::Unavailable { message, retry_after }));
        };
        let fetched = origin.get(&request.part.to_string()).await.map_err(SumdbError::Origin)?;
        Ok(SumdbAnswer { body: fetched.body, held: fetched.held })
    }
}

impl Sumdb {
    /// Keeps a lookup or a tile that was brought from elsewhere, unless one is held. It is believed no more than what an upstream
    /// sends: whoever uses it proves it first.
    pub(crate) async fn take_in(&self, request: &SumdbRequest, body: Bytes) -> Result<bool, SumdbError> {
        let Some(Some(origin)) = self.origins.get(&request.name) else {
            return Err(SumdbError::NotProxied(format!("checksum database {:?} is not proxied here", request.name)));
        };
        origin.take_in(&request.part.to_string(), body).await.map_err(SumdbError::Origin)
    }
}

#[async_trait]
impl Verifier for Sumdb {
    async fn check(&self, module: &ModulePath, version: &Version, what: Proof<'_>) -> Result<Verdict, VerifyError> {
        let Some(database) = &self.verifying else { return Ok(Verdict::NotCovered) };
        // A toolchain is run by whoever downloads it; the `go` command too verifies it whatever GONOSUMDB says.
        if module.as_str() != "golang.org/toolchain" && self.exempt.matches(module.as_str()) {
            return Ok(Verdict::NotCovered);
        }
        let lookup = format!("{}@{}", module.escaped(), version.escaped());
        let (version, hash) = match what {
            Proof::Zip { h1 } => (version.to_string(), h1),
            Proof::Mod { h1 } => (format!("{version}/go.mod"), h1),
        };
        let checked = database.check(&lookup, module.as_str(), &version, hash).await;
        checked.map(|()| Verdict::Verified).map_err(|error| match &error {
            DatabaseError::Unknown(_) | DatabaseError::Mismatch(_) => VerifyError::Mismatch(error.to_string()),
            DatabaseError::Unproven { .. } | DatabaseError::Forked(_) | DatabaseError::Origin(_) => {
                VerifyError::Unavailable(error.to_string())
            }
        })
    }
}
