//! Signed notes: the text form in which a checksum database signs its tree head.
//!
//! A note is a text, a blank line, and one signature line for each key (`— name base64`). The rules are those of
//! `golang.org/x/mod/sumdb/note`: a bad signature by a key that we know refuses the whole note, one by an unknown key is
//! passed over, and at least one known key must have signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The only key algorithm in use: Ed25519.
const ALGORITHM_ED25519: u8 = 1;
/// More signatures than this are not a note but an attempt to keep us busy.
const SIGNATURES_MAX: usize = 100;

/// Why a note, or the public key of a database, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoteError {
    /// The key is not `name+hash+base64`, or its parts contradict each other.
    #[error("public key {0:?} is malformed")]
    Key(String),
    /// The bytes do not have the shape of a note.
    #[error("signed note is malformed")]
    Malformed,
    /// A key that we know is named, but did not make this signature.
    #[error("signature of {0:?} is invalid")]
    Signature(String),
    /// Only keys that we do not know have signed.
    #[error("note is not signed by {0:?}")]
    Unsigned(String),
}

/// The public key of a checksum database, as `GOSUMDB` spells it: `name+hash+base64`.
#[derive(Debug, Clone)]
pub(crate) struct NoteKey {
    name: String,
    hash: [u8; 4],
    key: VerifyingKey,
}

impl NoteKey {
    /// Reads `name+hash+base64(algorithm ‖ key)`.
    pub(crate) fn parse(text: &str) -> Result<Self, NoteError> {
        let malformed = || NoteError::Key(text.to_owned());
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        let hash: [u8; 4] = hex::decode(hash).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(malformed)?;
        let key = STANDARD.decode(key).map_err(|_| malformed())?;
        if !is_name(name) || key_hash(name, &key) != hash {
            return Err(malformed());
        }
        let (&ALGORITHM_ED25519, bytes) = key.split_first().ok_or_else(malformed)? else {
            return Err(malformed());
        };
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| malformed())?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| malformed())?;
        Ok(Self { name: name.to_owned(), hash, key })
    }

    /// The database that signs with this key.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this key has signed.
    pub(crate) fn open<'n>(&self, note: &'n [u8]) -> Result<&'n str, NoteError> {
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed)?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let mut signed = false;
        for (count, line) in lines.split('\n').enumerate() {
            if count >= SIGNATURES_MAX {
                return Err(NoteError::Malformed);
            }
            signed |= self.check_line(text, line)?;
        }
        if signed { Ok(text) } else { Err(NoteError::Unsigned(self.name.clone())) }
    }

    /// Whether this signature line is ours; an error when it claims to be and is not.
    fn check_line(&self, text: &str, line: &str) -> Result<bool, NoteError> {
        let line = line.strip_prefix("— ").ok_or(NoteError::Malformed)?;
        let (name, signature) = line.split_once(' ').ok_or(NoteError::Malformed)?;
        let signature = STANDARD.decode(signature).map_err(|_| NoteError::Malformed)?;
        if !is_name(name) || signature.len() < 5 {
            return Err(NoteError::Malformed);
        }
        let (hash, signature) = signature.split_at(4);
        if name != self.name || hash != self.hash {
            return Ok(false);
        }
        let bad = || NoteError::Signature(self.name.clone());
        let signature = Signature::from_slice(signature).map_err(|_| bad())?;
        self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| bad())?;
        Ok(true)
    }
}

/// The four bytes by which signature lines name their key.
pub(crate) fn key_hash(name: &str, key: &[u8]) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name.as_bytes());
    hasher.update(b"\n");
    hasher.update(key);
    let digest: [u8; 32] = hasher.finalize().into();
    [digest[0], digest[1], digest[2], digest[3]]
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('+') && !name.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sumdb::test_log::{public_key_text, sign_note, signing_key};

    #[test]
    fn the_public_databases_key_is_read() {
        let key = NoteKey::parse(crate::sumdb::PUBLIC_KEY).expect("the built-in key is well formed");
        assert_eq!(key.name(), "sum.golang.org");
    }

    #[test]
    fn malformed_keys_are_refused() {
        let good = crate::sumdb::PUBLIC_KEY;
        let other_name = good.replacen("sum.", "sun.", 1);
        for bad in ["", "a", "a+b", "a+00000000+", &good[..good.len() - 4], &other_name] {
            assert!(NoteKey::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn only_the_right_signature_opens() {
        let signer = signing_key(1);
        let key = NoteKey::parse(&public_key_text("db.test", &signer)).expect("key of the test is well formed");
        let note = sign_note("db.test", &signer, "hello\n");
        assert_eq!(key.open(note.as_bytes()), Ok("hello\n"));

        let forged = note.replacen("hello", "hallo", 1);
        assert_eq!(key.open(forged.as_bytes()), Err(NoteError::Signature("db.test".into())));
        let other = sign_note("db.test", &signing_key(2), "hello\n");
        assert_eq!(key.open(other.as_bytes()), Err(NoteError::Unsigned("db.test".into())));
        for malformed in
            ["", "hello\n", "hello\n\n", "hello\n\n— db.test\n", "hello\n\n- db.test AAAAAAAA\n", "a\r\n\n— x y\n"]
        {
            assert_eq!(key.open(malformed.as_bytes()), Err(NoteError::Malformed), "{malformed:?}");
        }
        assert_eq!(key.open(&note.as_bytes()[..note.len() - 1]), Err(NoteError::Malformed));
    }

    #[test]
    fn an_unknown_second_signature_is_passed_over() {
        let signer = signing_key(1);
        let key = NoteKey::parse(&public_key_text("db.test", &signer)).expect("key of the test is well formed");
        let note = sign_note("db.test", &signer, "hello\n") + "— witness.test AAAAAAAAAA==\n";
        assert_eq!(key.open(note.as_bytes()), Ok("hello\n"));
    }
}
