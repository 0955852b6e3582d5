//! A token and its stored form.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What every token begins with, so that a leaked one is recognised in a log or a repository.
const PREFIX: &str = "modtier_";

/// The SHA-256 of a token: all that is ever stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token as it was presented.
    pub fn of(plain: &str) -> Self {
        Self(Sha256::digest(plain.as_bytes()).into())
    }
}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

/// Why a text is no token hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token's sha256 must be 64 hexadecimal digits")]
pub struct TokenHashError;

impl FromStr for TokenHash {
    type Err = TokenHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| TokenHashError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A new token: the plain text for its owner, the hash for the file.
#[derive(Clone)]
pub struct Generated {
    /// To be shown once and never stored by us.
    pub plain: String,
    /// To be stored.
    pub hashed: TokenHash,
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated").field("hashed", &self.hashed).finish_non_exhaustive()
    }
}

/// A new token from the system's random source, which fails only where the system has none.
pub fn generate() -> std::io::Result<Generated> {
    let mut bits = [0; 32];
    SysRng.try_fill_bytes(&mut bits).map_err(std::io::Error::other)?;
    let plain = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
    let hashed = TokenHash::of(&plain);
    Ok(Generated { plain, hashed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_hash_to_what_is_stored() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.plain, other.plain);
        assert_eq!(TokenHash::of(&one.plain), one.hashed);
        assert_eq!(one.hashed.to_string().parse::<TokenHash>().unwrap(), one.hashed);
        assert!(one.plain.len() >= 43 + PREFIX.len());
    }

    #[test]
    fn a_token_is_not_printed_by_accident() {
        let token = generate().unwrap();
        assert!(!format!("{token:?}").contains(&token.plain));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in ["", "00", "zz", &"0".repeat(63), &"g".repeat(64)] {
            assert!(text.parse::<TokenHash>().is_err(), "{text}");
        }
    }
}
