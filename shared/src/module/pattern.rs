//! Patterns of private module paths, as in GOPRIVATE (`module.MatchPrefixPatterns`).
//!
//! A pattern is a glob of Go's `path.Match`; it matches a path when it matches as many leading elements as
//! it has itself, so `*.corp.example.com` owns everything on those hosts. Matching goes byte by byte like Go's, which
//! shows where `*` ends in the middle of a character.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A list of patterns, each well formed: a typing error must not make a private path public in silence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct Patterns(Vec<String>);

/// A pattern that can never match because it is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {0:?}: malformed glob")]
pub struct PatternError(String);

impl Patterns {
    /// Checks each pattern. One string may hold several, separated by commas as in GOPRIVATE; empty ones are ignored.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self, PatternError> {
        let split = |list: String| list.split(',').map(|p| p.trim().to_owned()).collect::<Vec<_>>();
        let patterns: Vec<_> = patterns.into_iter().flat_map(split).filter(|p| !p.is_empty()).collect();
        match patterns.iter().find(|p| !is_well_formed(p.as_bytes())) {
            Some(bad) => Err(PatternError(bad.clone())),
            None => Ok(Self(patterns)),
        }
    }

    /// Whether some pattern matches `path` or a path above it.
    pub fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|pattern| matches_prefix(pattern, path))
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns as given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl TryFrom<Vec<String>> for Patterns {
    type Error = PatternError;

    fn try_from(patterns: Vec<String>) -> Result<Self, PatternError> {
        Self::new(patterns)
    }
}

impl From<Patterns> for Vec<String> {
    fn from(patterns: Patterns) -> Self {
        patterns.0
    }
}

/// Whether a glob of the comma-separated list `globs` matches `target` or a leading part of it
/// (`module.MatchPrefixPatterns`). Empty and malformed globs are ignored.
pub fn match_prefix_patterns(globs: &str, target: &str) -> bool {
    globs.split(',').any(|glob| matches_prefix(glob, target))
}

fn matches_prefix(glob: &str, target: &str) -> bool {
    let glob = glob.strip_suffix('/').unwrap_or(glob);
    if glob.is_empty() {
        return false;
    }
    let slashes = glob.bytes().filter(|&b| b == b'/').count();
    let mut ends = target.bytes().enumerate().filter(|&(_, b)| b == b'/').map(|(at, _)| at);
    let prefix = match ends.nth(slashes) {
        Some(end) => &target[..end],
        None if target.bytes().filter(|&b| b == b'/').count() == slashes => target,
        None => return false,
    };
    glob_match(glob.as_bytes(), prefix.as_bytes()) == Ok(true)
}

/// The pattern is malformed.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

fn is_well_formed(glob: &[u8]) -> bool {
    let mut rest = glob;
    while !rest.is_empty() {
        let (_, chunk, after) = next_chunk(rest);
        if match_chunk(chunk, b"").is_err() {
            return false;
        }
        rest = after;
    }
    true
}

/// Go's `path.Match`, its order of finding errors included: a malformed pattern may also give `Ok`.
fn glob_match(mut pattern: &[u8], mut name: &[u8]) -> Result<bool, Malformed> {
    while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        // The last chunk must use up the name; an earlier one may leave some for those after it.
        let fits = |left: &[u8]| left.is_empty() || !rest.is_empty();
        if let Some(left) = match_chunk(chunk, name)?.filter(|left| fits(left)) {
            name = left;
            continue;
        }
        let skipped = if star { match_after_star(chunk, name, fits)? } else { None };
        let Some(left) = skipped else {
            return if is_well_formed(pattern) { Ok(false) } else { Err(Malformed) };
        };
        name = left;
    }
    Ok(name.is_empty())
}

/// Lets a star swallow one byte after another, never a slash, until the chunk behind it matches.
fn match_after_star<'a>(
    chunk: &[u8],
    name: &'a [u8],
    fits: impl Fn(&[u8]) -> bool,
) -> Result<Option<&'a [u8]>, Malformed> {
    for at in 0..name.len() {
        if name[at] == b'/' {
            break;
        }
        if let Some(left) = match_chunk(chunk, &name[at + 1..])?.filter(|left| fits(left)) {
            return Ok(Some(left));
        }
    }
    Ok(None)
}

/// The next piece without a star, whether stars precede it, and the rest of the pattern.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|&&b| b == b'*').count();
    let pattern = &pattern[stars..];
    let mut in_class = false;
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            b'\\' => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    let (chunk, rest) = pattern.split_at(at.min(pattern.len()));
    (stars > 0, chunk, rest)
}

/// Matches a chunk against the beginning of `name`; what is left of it. After a mismatch the chunk is read on for errors.
fn match_chunk<'a>(mut chunk: &[u8], name: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let mut left = Some(name);
    while let Some((&op, after)) = chunk.split_first() {
        left = left.filter(|name| !name.is_empty());
        match op {
            b'[' => {
                let (c, rest) = left.map_or((0, None), |name| {
                    let (c, width) = decode(name);
                    (c, Some(&name[width..]))
                });
                let (matched, after_class) = match_class(after, c)?;
                left = rest.filter(|_| matched);
                chunk = after_class;
            }
            b'?' => {
                left = left.filter(|name| name[0] != b'/').map(|name| &name[decode(name).1..]);
                chunk = after;
            }
            literal => {
                let (&wanted, rest) =
                    if literal == b'\\' { after.split_first().ok_or(Malformed)? } else { (&literal, after) };
                left = left.filter(|name| name[0] == wanted).map(|name| &name[1..]);
                chunk = rest;
            }
        }
    }
    Ok(left)
}

/// Whether `c` is in the class whose text begins after `[`, and what follows the class.
fn match_class(class: &[u8], c: u32) -> Result<(bool, &[u8]), Malformed> {
    let negated = class.first() == Some(&b'^');
    let mut rest = if negated { &class[1..] } else { class };
    let mut found = false;
    let mut ranges = 0;
    loop {
        if ranges > 0 && rest.first() == Some(&b']') {
            return Ok((found != negated, &rest[1..]));
        }
        let (low, after) = class_char(rest)?;
        let (high, after) = if after[0] == b'-' { class_char(&after[1..])? } else { (low, after) };
        found = found || (low <= c && c <= high);
        ranges += 1;
        rest = after;
    }
}

/// One possibly escaped character of a class, and the rest, which is never empty: the class must still be closed.
fn class_char(text: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let text = match text.first() {
        None | Some(b'-' | b']') => return Err(Malformed),
        Some(b'\\') => &text[1..],
        Some(_) => text,
    };
    if text.is_empty() {
        return Err(Malformed);
    }
    let (c, width) = decode(text);
    let rest = &text[width..];
    let invalid = c == REPLACEMENT && width == 1;
    if invalid || rest.is_empty() { Err(Malformed) } else { Ok((c, rest)) }
}

const REPLACEMENT: u32 = 0xFFFD;

/// The first character and its width; U+FFFD of width 1 where the bytes are no UTF-8, as Go decodes.
fn decode(bytes: &[u8]) -> (u32, usize) {
    let first = (1..=bytes.len().min(4)).find_map(|width| std::str::from_utf8(&bytes[..width]).ok());
    first.and_then(|text| text.chars().next()).map_or((REPLACEMENT, 1), |c| (u32::from(c), c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_owns_what_lies_below_it() {
        for (globs, target) in [
            ("corp.example.com", "corp.example.com/a/b"),
            ("*.corp.example.com", "git.corp.example.com/a"),
            ("other,github.com/acme/", "github.com/acme/tool/v2"),
            ("github.com/acme*/x", "github.com/acme-corp/x"),
            ("[a-c].com", "b.com"),
            ("x.com/\\*", "x.com/*"),
        ] {
            assert!(match_prefix_patterns(globs, target), "{globs} {target}");
        }
        for (globs, target) in [
            ("", "example.com"),
            (",/,", "example.com"),
            ("corp.example.com/a", "corp.example.com"),
            ("corp.example.com", "corp.example.community"),
            ("github.com/acme", "github.com/acme-corp/x"),
            ("*", ""),
            ("[", "["),
            ("[]a]", "a"),
            ("a\\", "a"),
        ] {
            let empty_star = (globs, target) == ("*", "");
            assert_eq!(match_prefix_patterns(globs, target), empty_star, "{globs} {target}");
        }
    }

    #[test]
    fn a_list_refuses_malformed_patterns() {
        let list = Patterns::new(["*.corp.example.com,github.com/acme".to_owned(), String::new()]).unwrap();
        assert!(list.matches("git.corp.example.com/x") && list.matches("github.com/acme/y"));
        assert!(!list.matches("github.com/other"));
        assert_eq!(list.iter().count(), 2);
        let error = serde_json::from_str::<Patterns>(r#"["ok.com", "[a-"]"#).unwrap_err();
        assert!(error.to_string().contains("\"[a-\""), "{error}");
    }
}
