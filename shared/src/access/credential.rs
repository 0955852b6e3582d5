//! The token in an `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The token of `Basic` (its password) or `Bearer`; `None` when the header holds neither.
pub(super) fn token_of(header: &str) -> Option<String> {
    let (scheme, value) = header.trim().split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!value.is_empty()).then(|| value.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        let (_, password) = decoded.split_once(':')?;
        return (!password.is_empty()).then(|| password.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_and_bearer_carry_a_token() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(token_of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token_of("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(token_of(&basic("user:abc")).as_deref(), Some("abc"));
        assert_eq!(token_of(&basic(":a:b")).as_deref(), Some("a:b"));
        for header in ["", "Bearer", "Bearer ", "abc", "Digest abc", "Basic !", &basic("user"), &basic("user:")] {
            assert_eq!(token_of(header), None, "{header}");
        }
    }
}
