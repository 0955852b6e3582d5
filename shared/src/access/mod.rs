//! Who may do what: bearer tokens with grants, and what needs no token.
//!
//! A token is 256 random bits, so its SHA-256 can be stored without salt or stretching: there is nothing to guess.
//! The credential arrives as HTTP Basic (the `go` command sends `.netrc` that way; the password is the token and the
//! user name is ignored) or as `Authorization: Bearer`. [`Bearer`] is what a tier shows to another one.

mod bearer;
mod check;
mod credential;
mod scope;
mod token;
mod token_file;

pub use self::bearer::Bearer;
pub use self::check::{Access, AccessConfig, Denied, Identity};
pub use self::scope::{Place, RepositoryPattern};
pub use self::token::{Generated, TokenHash, generate};
pub use self::token_file::{AccessError, TokenEntry, TokenFile};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that a token may allow. None includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    /// Reading modules.
    Read,
    /// Publishing.
    Write,
    /// Tombstoning and restoring.
    Delete,
    /// Describing modules and versions by properties.
    Annotate,
    /// The administration interface.
    Admin,
}

impl Grant {
    /// Every grant there is.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Delete, Self::Annotate, Self::Admin];
}
