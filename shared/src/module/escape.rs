//! The escaped form of paths and versions on the wire: an upper-case letter is written as `!` and its lower-case one.

use super::path::{PathError, PathKind, check_element, check_path};
use super::version::VersionError;

/// The escaped form of a module path (`module.EscapePath`); an invalid path is refused.
pub fn escape_path(path: &str) -> Result<String, PathError> {
    check_path(path)?;
    Ok(escape(path))
}

/// The module path that `escaped` stands for (`module.UnescapePath`).
pub fn unescape_path(escaped: &str) -> Result<String, PathError> {
    let refused = |reason: &str| PathError::new("invalid escaped module path", escaped, reason);
    let path = unescape(escaped).ok_or_else(|| refused("not an escaped form"))?;
    check_path(&path).map_err(|e| refused(e.reason()))?;
    Ok(path)
}

/// The escaped form of a version or query (`module.EscapeVersion`). It need not be a semantic version, but must be a
/// valid file name of ASCII characters without `!`.
pub fn escape_version(version: &str) -> Result<String, VersionError> {
    let allowed = check_element(version, PathKind::File).is_ok() && version.is_ascii() && !version.contains('!');
    if allowed { Ok(escape(version)) } else { Err(VersionError::Disallowed { version: version.to_owned() }) }
}

/// The version or query that `escaped` stands for (`module.UnescapeVersion`).
pub fn unescape_version(escaped: &str) -> Result<String, VersionError> {
    let refused = |reason: String| VersionError::Escaped { escaped: escaped.to_owned(), reason };
    let version = unescape(escaped).ok_or_else(|| refused("not an escaped form".into()))?;
    check_element(&version, PathKind::File).map_err(refused)?;
    Ok(version)
}

/// Escapes text that is known to be ASCII without `!`.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if c.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(c.to_ascii_lowercase());
    }
    escaped
}

/// `None` unless `escaped` is ASCII without upper case in which every `!` precedes a lower-case letter.
fn unescape(escaped: &str) -> Option<String> {
    let mut text = String::with_capacity(escaped.len());
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        match c {
            '!' => text.push(chars.next().filter(char::is_ascii_lowercase)?.to_ascii_uppercase()),
            'A'..='Z' => return None,
            c if !c.is_ascii() => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_there_and_back() {
        assert_eq!(escape_path("github.com/BurntSushi/toml").unwrap(), "github.com/!burnt!sushi/toml");
        assert_eq!(unescape_path("github.com/!burnt!sushi/toml").unwrap(), "github.com/BurntSushi/toml");
        assert!(escape_path("example").is_err());
        for bad in ["github.com/Burnt", "github.com/!", "github.com/!!b", "github.com/!1", "github.com/é", "!a.com"] {
            assert!(unescape_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_there_and_back() {
        assert_eq!(escape_version("v1.0.0-RC1").unwrap(), "v1.0.0-!r!c1");
        assert_eq!(unescape_version("v1.0.0-!r!c1").unwrap(), "v1.0.0-RC1");
        for bad in ["", "a/b", "v1!", "é", "..", "a*b"] {
            assert!(escape_version(bad).is_err(), "{bad}");
        }
        for bad in ["", "a/b", "v1!", "V1", "é", "!c!o!n"] {
            assert!(unescape_version(bad).is_err(), "{bad}");
        }
    }
}
