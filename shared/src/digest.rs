//! SHA-256 digests and the three forms they take on the wire: hex, `ETag`, and `Repr-Digest` (RFC 9530).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// A text that is not the hex form of a SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("digest {0:?}: not 64 hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps a digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lowercase hexadecimal digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The strong entity tag: the quoted hex form.
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.hex())
    }

    /// The value of a `Repr-Digest` field (RFC 9530, section 3).
    pub fn repr_digest(&self) -> String {
        format!("sha-256=:{}:", STANDARD.encode(self.0))
    }

    /// Reads the `sha-256` member of a `Repr-Digest` field; other algorithms are passed over.
    pub fn parse_repr_digest(field: &str) -> Option<Self> {
        field.split(',').find_map(|member| {
            let encoded = member.trim().strip_prefix("sha-256=:")?.strip_suffix(':')?;
            let bytes = STANDARD.decode(encoded).ok()?;
            Some(Self(bytes.try_into().ok()?))
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.hex())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| DigestError(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.hex()
    }
}

/// Hashes a body as it passes by.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken so far.
    pub fn digest(&self) -> Digest {
        Digest(self.0.clone().finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_round_trip() {
        let digest = Digest::of(b"hello");
        assert_eq!(digest.hex(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(digest.hex().parse(), Ok(digest));
        assert_eq!(Digest::parse_repr_digest(&digest.repr_digest()), Some(digest));
        assert_eq!(Digest::parse_repr_digest(&format!("sha-512=:AA==:, {}", digest.repr_digest())), Some(digest));
    }

    #[test]
    fn other_texts_are_refused() {
        assert!("2cf2".parse::<Digest>().is_err());
        assert_eq!(Digest::parse_repr_digest("sha-256=:AA==:"), None);
        assert_eq!(Digest::parse_repr_digest("sha-256=AA=="), None);
    }

    #[test]
    fn a_body_hashed_in_pieces_has_the_same_digest() {
        let mut hasher = Hasher::default();
        hasher.update(b"hel");
        hasher.update(b"lo");
        assert_eq!(hasher.digest(), Digest::of(b"hello"));
    }
}
