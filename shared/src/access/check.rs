//! The decision about one request.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::credential::token_of;
use super::{AccessError, Grant, Place, TokenEntry, TokenFile, TokenHash};

/// How often, at most, the file of tokens is looked at for a change.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The access settings of a binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// File of hashed tokens, read again when it changes; without one no token is known.
    pub tokens_file: Option<PathBuf>,
    /// What needs no token: any of `read`, `write`, `delete`, `annotate`, `admin`.
    pub anonymous: Vec<Grant>,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self { tokens_file: None, anonymous: vec![Grant::Read] }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// The holder of the token with this name.
    Token(String),
}

impl Identity {
    /// The name for a log or an audit.
    pub fn name(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Token(name) => name,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a request is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A credential is needed and there is none, or one that we do not know: 401.
    #[error("a valid token is needed")]
    Unauthenticated,
    /// The credential is known and does not allow this: 403.
    #[error("this token does not allow it")]
    Forbidden,
}

/// The tokens and rules of a running binary.
#[derive(Debug)]
pub struct Access {
    file: Option<PathBuf>,
    anonymous: Vec<Grant>,
    tokens: RwLock<Arc<Vec<TokenEntry>>>,
    issued: RwLock<Arc<Vec<TokenEntry>>>,
    look: Mutex<Look>,
}

/// When the file was last looked at, and what it looked like.
#[derive(Debug)]
struct Look {
    next: Instant,
    seen: Option<Stamp>,
}

/// What changes when a file does: a replaced one within the same tick of the clock still has another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: SystemTime,
    len: u64,
    inode: u64,
}

impl Access {
    /// Reads the file of tokens, if there is one; a file that is named and missing is an error.
    pub fn open(config: &AccessConfig) -> Result<Self, AccessError> {
        let seen = config.tokens_file.as_ref().and_then(|file| stamp_of(file));
        let tokens = config.tokens_file.as_deref().map(TokenFile::load).transpose()?.unwrap_or_default().tokens;
        Ok(Self {
            file: config.tokens_file.clone(),
            anonymous: config.anonymous.clone(),
            tokens: RwLock::new(Arc::new(tokens)),
            issued: RwLock::default(),
            look: Mutex::new(Look { next: Instant::now() + LOOK_INTERVAL, seen }),
        })
    }

    /// May the sender of this `Authorization` header do it there, and who is it?
    pub fn check(&self, authorization: Option<&str>, grant: Grant, place: Place<'_>) -> Result<Identity, Denied> {
        self.check_at(authorization, grant, place, Instant::now())
    }

    /// Whether this needs no token.
    pub fn is_anonymous(&self, grant: Grant) -> bool {
        self.anonymous.contains(&grant)
    }

    /// The tokens of the file, as of now.
    pub fn filed(&self) -> Arc<Vec<TokenEntry>> {
        self.look(Instant::now());
        Arc::clone(&self.tokens.read())
    }

    /// The tokens that are known besides those of the file.
    pub fn issued(&self) -> Arc<Vec<TokenEntry>> {
        Arc::clone(&self.issued.read())
    }

    /// From now on these are known besides those of the file, and no others.
    pub fn set_issued(&self, issued: Arc<Vec<TokenEntry>>) {
        *self.issued.write() = issued;
    }

    fn check_at(
        &self,
        authorization: Option<&str>,
        grant: Grant,
        place: Place<'_>,
        now: Instant,
    ) -> Result<Identity, Denied> {
        let open = self.is_anonymous(grant);
        // An unknown credential where none is needed is that of a `.netrc` written for something else.
        let unknown = if open { Ok(Identity::Anonymous) } else { Err(Denied::Unauthenticated) };
        let Some(token) = authorization.and_then(token_of) else { return unknown };
        self.look(now);
        let (filed, issued) = (Arc::clone(&self.tokens.read()), self.issued());
        match find(&filed, &issued, TokenHash::of(&token)) {
            None => unknown,
            Some(entry) if open || entry.allows(grant, place) => Ok(Identity::Token(entry.name.clone())),
            Some(_) => Err(Denied::Forbidden),
        }
    }

    /// Reads the file again if it changed since the last look. A file that cannot be read leaves the tokens as they are.
    fn look(&self, now: Instant) {
        let Some(file) = &self.file else { return };
        let Some(mut look) = self.look.try_lock() else { return };
        if now < look.next {
            return;
        }
        look.next = now + LOOK_INTERVAL;
        let stamp = stamp_of(file);
        if stamp == look.seen {
            return;
        }
        match TokenFile::load(file) {
            Ok(read) => {
                tracing::info!(file = %file.display(), tokens = read.tokens.len(), "tokens were read again");
                *self.tokens.write() = Arc::new(read.tokens);
            }
            Err(error) => tracing::error!(%error, "the tokens stay as they were"),
        }
        look.seen = stamp;
    }
}

/// The entry with this hash. Every entry is compared in full, so the time tells nothing about where or whether one matched.
fn find<'a>(filed: &'a [TokenEntry], issued: &'a [TokenEntry], hash: TokenHash) -> Option<&'a TokenEntry> {
    let mut found = u64::MAX;
    for (index, entry) in (0_u64..).zip(filed.iter().chain(issued)) {
        found.conditional_assign(&index, entry.sha256.ct_eq(&hash));
    }
    let found = usize::try_from(found).ok()?;
    filed.get(found).or_else(|| issued.get(found - filed.len()))
}

pub(super) fn stamp_of(file: &std::path::Path) -> Option<Stamp> {
    let data = std::fs::metadata(file).ok()?;
    Some(Stamp { modified: data.modified().ok()?, len: data.len(), inode: std::os::unix::fs::MetadataExt::ino(&data) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{RepositoryPattern, generate};

    struct Fixture {
        folder: tempfile::TempDir,
        reader: String,
        writer: String,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let add = |name: &str, grants: &[Grant]| {
                let token = generate().unwrap();
                let entry = TokenEntry {
                    name: name.into(),
                    sha256: token.hashed,
                    grants: grants.to_vec(),
                    repositories: vec![],
                };
                TokenFile::append(&folder.path().join("tokens"), entry).unwrap();
                format!("Bearer {}", token.plain)
            };
            let reader = add("reader", &[Grant::Read]);
            let writer = add("writer", &[Grant::Read, Grant::Write]);
            Self { folder, reader, writer }
        }

        fn access(&self, anonymous: &[Grant]) -> Access {
            Access::open(&AccessConfig {
                tokens_file: Some(self.folder.path().join("tokens")),
                anonymous: anonymous.to_vec(),
            })
            .unwrap()
        }
    }

    #[test]
    fn a_token_allows_its_grants_and_no_others() {
        let fixture = Fixture::new();
        let access = fixture.access(&[]);
        let writer = Identity::Token("writer".into());
        assert_eq!(access.check(Some(&fixture.writer), Grant::Write, Place::Everywhere), Ok(writer.clone()));
        assert_eq!(access.check(Some(&fixture.writer), Grant::Read, Place::Everywhere), Ok(writer));
        assert_eq!(access.check(Some(&fixture.writer), Grant::Admin, Place::Everywhere), Err(Denied::Forbidden));
        assert_eq!(access.check(Some(&fixture.reader), Grant::Write, Place::Everywhere), Err(Denied::Forbidden));
        assert_eq!(
            access.check(Some("Bearer modtier_unknown"), Grant::Read, Place::Everywhere),
            Err(Denied::Unauthenticated)
        );
        assert_eq!(access.check(None, Grant::Read, Place::Everywhere), Err(Denied::Unauthenticated));
    }

    #[test]
    fn what_is_anonymous_needs_no_token_and_takes_any() {
        let fixture = Fixture::new();
        let access = fixture.access(&[Grant::Read]);
        assert_eq!(access.check(None, Grant::Read, Place::Everywhere), Ok(Identity::Anonymous));
        assert_eq!(access.check(Some("Bearer wrong"), Grant::Read, Place::Everywhere), Ok(Identity::Anonymous));
        assert_eq!(access.check(Some(&fixture.reader), Grant::Read, Place::Everywhere).unwrap().name(), "reader");
        assert_eq!(access.check(None, Grant::Write, Place::Everywhere), Err(Denied::Unauthenticated));
        assert_eq!(access.check(Some("Bearer wrong"), Grant::Write, Place::Everywhere), Err(Denied::Unauthenticated));
    }

    #[test]
    fn the_hash_itself_is_no_token() {
        let fixture = Fixture::new();
        let access = fixture.access(&[]);
        let stored = TokenFile::load(&fixture.folder.path().join("tokens")).unwrap().tokens[1].sha256;
        assert_eq!(
            access.check(Some(&format!("Bearer {stored}")), Grant::Write, Place::Everywhere),
            Err(Denied::Unauthenticated)
        );
    }

    #[test]
    fn a_changed_file_counts_after_the_next_look_and_a_broken_one_does_not() {
        let fixture = Fixture::new();
        let access = fixture.access(&[]);
        let file = fixture.folder.path().join("tokens");
        let token = generate().unwrap();
        let header = format!("Bearer {}", token.plain);
        TokenFile::append(
            &file,
            TokenEntry { name: "late".into(), sha256: token.hashed, grants: vec![Grant::Admin], repositories: vec![] },
        )
        .unwrap();
        let now = Instant::now();
        assert_eq!(access.check_at(Some(&header), Grant::Admin, Place::Everywhere, now), Err(Denied::Unauthenticated));
        let later = now + 2 * LOOK_INTERVAL;
        assert_eq!(access.check_at(Some(&header), Grant::Admin, Place::Everywhere, later).unwrap().name(), "late");
        std::fs::write(&file, "tokens: nonsense").unwrap();
        assert!(access.check_at(Some(&header), Grant::Admin, Place::Everywhere, later + 2 * LOOK_INTERVAL).is_ok());
        std::fs::write(&file, "tokens: []").unwrap();
        assert_eq!(
            access.check_at(Some(&header), Grant::Admin, Place::Everywhere, later + 4 * LOOK_INTERVAL),
            Err(Denied::Unauthenticated)
        );
    }

    #[test]
    fn a_missing_file_is_an_error_at_the_start() {
        let config = AccessConfig { tokens_file: Some("/nonexistent/tokens".into()), ..AccessConfig::default() };
        assert!(Access::open(&config).unwrap_err().to_string().contains("/nonexistent/tokens"));
    }

    #[test]
    fn a_token_of_named_repositories_allows_nothing_elsewhere() {
        let access = Fixture::new().access(&[]);
        let token = generate().unwrap();
        let header = format!("Bearer {}", token.plain);
        let patterns = ["golang-local", "team-*"].map(|text| RepositoryPattern::new(text).unwrap());
        let entry = TokenEntry {
            name: "team".into(),
            sha256: token.hashed,
            grants: vec![Grant::Write, Grant::Admin],
            repositories: patterns.into(),
        };
        let may = |grant, place| access.check(Some(&header), grant, place);
        assert_eq!(may(Grant::Write, Place::Repository("team-a")), Err(Denied::Unauthenticated), "not yet issued");
        access.set_issued(Arc::new(vec![entry]));
        assert_eq!(may(Grant::Write, Place::Repository("team-a")).unwrap().name(), "team");
        assert!(may(Grant::Admin, Place::Repository("golang-local")).is_ok());
        assert_eq!(may(Grant::Write, Place::Repository("golang-remote")), Err(Denied::Forbidden));
        assert_eq!(may(Grant::Read, Place::Repository("team-a")), Err(Denied::Forbidden));
        assert_eq!(may(Grant::Admin, Place::Everywhere), Err(Denied::Forbidden), "it would make tokens for all");
        access.set_issued(Arc::default());
        assert_eq!(may(Grant::Write, Place::Repository("team-a")), Err(Denied::Unauthenticated), "revoked");
    }
}
