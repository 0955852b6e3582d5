//! Who sent an event: an HMAC over the body (GitHub, Gitea, Bitbucket) or the secret itself (GitLab), compared in constant time.

use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Block size of SHA-256 in bytes.
const BLOCK: usize = 64;

/// Whether a body is signed with the secret, in any of the ways.
pub(super) fn is_signed(headers: &HeaderMap, body: &[u8], secret: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Bitbucket leaves the number out of the header's name.
    let github = text("x-hub-signature-256").or_else(|| text("x-hub-signature"));
    let github = github.and_then(|value| value.strip_prefix("sha256="));
    if let Some(signature) = github.or_else(|| text("x-gitea-signature")) {
        let Ok(signature) = hex::decode(signature) else { return false };
        return bool::from(signature.ct_eq(&hmac_sha256(secret.as_bytes(), body)));
    }
    // Compared by their hashes: comparing the words would tell how long the secret is.
    text("x-gitlab-token").is_some_and(|token| bool::from(Sha256::digest(token).ct_eq(&Sha256::digest(secret))))
}

/// RFC 2104 with SHA-256.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |byte: u8| block.map(|b| b ^ byte);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The cases of RFC 4231 that have a whole digest.
    #[test]
    fn the_hmac_is_that_of_the_rfc() {
        let long = vec![0xaa; 131];
        for (key, message, expected) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &long,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex::encode(hmac_sha256(key, message)), expected);
        }
    }

    #[test]
    fn each_host_signs_in_its_way() {
        let body = b"{}";
        let mac = hex::encode(hmac_sha256(b"secret", body));
        let signed = |name: &'static str, value: &str| {
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())]);
            is_signed(&headers, body, "secret")
        };
        assert!(signed("x-hub-signature-256", &format!("sha256={mac}")));
        assert!(signed("x-hub-signature", &format!("sha256={mac}")));
        assert!(signed("x-gitea-signature", &mac));
        assert!(signed("x-gitlab-token", "secret"));
        for (name, value) in [
            ("x-hub-signature-256", mac.as_str()),
            ("x-hub-signature-256", "sha256="),
            ("x-hub-signature", "sha1=00"),
            ("x-gitea-signature", "secret"),
            ("x-gitlab-token", "secre"),
            ("x-gitlab-token", ""),
            ("x-other", "secret"),
        ] {
            assert!(!signed(name, value), "{name}: {value}");
        }
    }
}
