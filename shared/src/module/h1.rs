//! The `h1:` hash by which `go.sum` and the checksum databases know a module (`sumdb/dirhash`).
//!
//! It is the SHA-256 of a listing with one line a file, sorted by name: hex SHA-256, two spaces, name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The hash of a `go.mod`, as in the `/go.mod` lines of `go.sum`.
pub fn hash1_gomod(gomod: &[u8]) -> String {
    hash1([("go.mod", Sha256::digest(gomod).into())])
}

/// The hash of a listing of (name, SHA-256), which the caller has sorted by the bytes of the name. No name may hold
/// a newline; the zip rules exclude it.
pub fn hash1<'a>(sorted: impl IntoIterator<Item = (&'a str, [u8; 32])>) -> String {
    let mut listing = Sha256::new();
    for (name, digest) in sorted {
        listing.update(hex::encode(digest));
        listing.update(b"  ");
        listing.update(name);
        listing.update(b"\n");
    }
    format!("h1:{}", STANDARD.encode(listing.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_mod_from_a_public_go_sum() {
        // rsc.io/quote v1.5.2/go.mod
        let gomod = b"module \"rsc.io/quote\"\n\nrequire \"rsc.io/sampler\" v1.3.0\n";
        assert_eq!(hash1_gomod(gomod), "h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=");
    }

    #[test]
    fn every_part_counts() {
        let hash = |name: &str, content: &[u8]| hash1([(name, Sha256::digest(content).into())]);
        assert_ne!(hash("a", b"x"), hash("b", b"x"));
        assert_ne!(hash("a", b"x"), hash("a", b"y"));
    }
}
