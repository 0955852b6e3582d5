//! Which module, import and file paths are valid: `module.CheckPath` and its kin, and the type that carries the proof.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::escape;
use super::unicode::is_letter;

/// Names that Windows reserves, in any directory, in any case and with any extension.
const WINDOWS_NAMES: [&str; 22] = [
    "CON", "PRN", "AUX", "NUL", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9", "LPT1", "LPT2",
    "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9",
];

/// A path that breaks a rule, and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {path:?}: {reason}")]
pub struct PathError {
    /// What was judged: `malformed module path`, `invalid escaped module path`, …
    what: &'static str,
    path: String,
    reason: String,
}

impl PathError {
    pub(crate) fn new(what: &'static str, path: &str, reason: impl Into<String>) -> Self {
        Self { what, path: path.to_owned(), reason: reason.into() }
    }

    /// The rule that was broken, without the path.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// A module path that passed [`check_path`], in its plain (unescaped) form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModulePath(Arc<str>);

impl ModulePath {
    /// Checks a plain path.
    pub fn new(path: &str) -> Result<Self, PathError> {
        check_path(path)?;
        Ok(Self(path.into()))
    }

    /// Reads the form on the wire, where `!b` stands for `B`.
    pub fn unescape(escaped: &str) -> Result<Self, PathError> {
        escape::unescape_path(escaped).map(|path| Self(path.into()))
    }

    /// The plain path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form on the wire.
    pub fn escaped(&self) -> String {
        escape::escape(&self.0)
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for ModulePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ModulePath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        Self::new(path)
    }
}

impl TryFrom<String> for ModulePath {
    type Error = PathError;

    fn try_from(path: String) -> Result<Self, PathError> {
        Self::new(&path)
    }
}

impl From<ModulePath> for String {
    fn from(path: ModulePath) -> Self {
        path.as_str().to_owned()
    }
}

/// What a path names; each kind allows more characters than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathKind {
    Module,
    Import,
    File,
}

/// Whether `path` is a valid module path (`module.CheckPath`).
pub fn check_path(path: &str) -> Result<(), PathError> {
    check_module(path).map_err(|reason| PathError::new("malformed module path", path, reason))
}

/// Whether `path` is a valid import path (`module.CheckImportPath`).
pub fn check_import_path(path: &str) -> Result<(), PathError> {
    check_elements(path, PathKind::Import).map_err(|reason| PathError::new("malformed import path", path, reason))
}

/// Whether `path` is a valid path of a file in a module zip (`module.CheckFilePath`).
pub fn check_file_path(path: &str) -> Result<(), PathError> {
    check_elements(path, PathKind::File).map_err(|reason| PathError::new("malformed file path", path, reason))
}

fn check_module(path: &str) -> Result<(), String> {
    check_elements(path, PathKind::Module)?;
    let first = path.split('/').next().unwrap_or(path);
    if !first.contains('.') {
        return Err("missing dot in first path element".into());
    }
    let domain = |c: char| matches!(c, '-' | '.' | '0'..='9' | 'a'..='z');
    if let Some(bad) = first.chars().find(|&c| !domain(c)) {
        return Err(format!("invalid char {bad:?} in first path element"));
    }
    split_path_version(path).map(drop).ok_or_else(|| "invalid version".into())
}

fn check_elements(path: &str, kind: PathKind) -> Result<(), String> {
    if path.is_empty() {
        return Err("empty string".into());
    }
    if path.starts_with('-') && kind != PathKind::File {
        return Err("leading dash".into());
    }
    if path.contains("//") {
        return Err("double slash".into());
    }
    if path.ends_with('/') {
        return Err("trailing slash".into());
    }
    path.split('/').try_for_each(|element| check_element(element, kind))
}

/// Whether one element of a path is valid for its kind; the reason if it is not.
pub(crate) fn check_element(element: &str, kind: PathKind) -> Result<(), String> {
    if element.is_empty() {
        return Err("empty path element".into());
    }
    if element.bytes().all(|b| b == b'.') {
        return Err(format!("invalid path element {element:?}"));
    }
    if element.starts_with('.') && kind == PathKind::Module {
        return Err("leading dot in path element".into());
    }
    if element.ends_with('.') {
        return Err("trailing dot in path element".into());
    }
    if let Some(bad) = element.chars().find(|&c| !allowed(c, kind)) {
        return Err(format!("invalid char {bad:?}"));
    }
    let short = element.split('.').next().unwrap_or(element);
    if WINDOWS_NAMES.iter().any(|name| name.eq_ignore_ascii_case(short)) {
        return Err(format!("{short:?} disallowed as path element component on Windows"));
    }
    if kind == PathKind::File {
        return Ok(());
    }
    match short.rsplit_once('~') {
        // `PROGRA~1` would be another name for `Program Files`.
        Some((_, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Err("trailing tilde and digits in path element".into())
        }
        _ => Ok(()),
    }
}

fn allowed(c: char, kind: PathKind) -> bool {
    if c.is_ascii_alphanumeric() {
        return true;
    }
    match kind {
        PathKind::Module => matches!(c, '-' | '.' | '_' | '~'),
        PathKind::Import => matches!(c, '-' | '.' | '_' | '~' | '+'),
        PathKind::File if c.is_ascii() => "!#$%&()+,-.=@[]^_{}~ ".contains(c),
        PathKind::File => is_letter(c),
    }
}

/// Splits `path` into prefix and major version suffix (`/v2`, or `.v2` below `gopkg.in/`; empty for none).
///
/// `None` if the last element looks like a version that a module path must not end in (`/v1`, `/v1.2`, `/v02`).
pub fn split_path_version(path: &str) -> Option<(&str, &str)> {
    if path.starts_with("gopkg.in/") {
        return split_gopkg_in(path);
    }
    let stem = path.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if stem.len() == path.len() || !stem.ends_with("/v") {
        return Some((path, ""));
    }
    let (prefix, suffix) = path.split_at(stem.len() - 2);
    let number = &suffix[2..];
    let refused = number.contains('.') || number.starts_with('0') || number == "1";
    (!refused).then_some((prefix, suffix))
}

/// Every path below `gopkg.in` ends in `.vN`, `.v0` and `.v1` included, optionally followed by `-unstable`.
fn split_gopkg_in(path: &str) -> Option<(&str, &str)> {
    let stable = path.strip_suffix("-unstable").unwrap_or(path);
    let stem = stable.trim_end_matches(|c: char| c.is_ascii_digit());
    let prefix = stem.strip_suffix(".v")?;
    let suffix = &path[prefix.len()..];
    let leading_zero = suffix[2..].starts_with('0') && suffix != ".v0";
    (suffix.len() > 2 && !leading_zero).then_some((prefix, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_paths() {
        for good in [
            "example.com",
            "github.com/BurntSushi/toml",
            "gopkg.in/yaml.v3",
            "gopkg.in/yaml.v2-unstable",
            "example.com/v2",
            "k8s.io/api",
            "example.com/a~b/c_d",
            "example.com/con1",
            "example.com/foo.~1x",
        ] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "example",
            "Example.com/x",
            "example.com/",
            "/example.com",
            "example.com//x",
            "-x.com",
            "example.com/v1",
            "example.com/v0",
            "example.com/v2.1",
            "gopkg.in/yaml",
            "gopkg.in/yaml.v01",
            "example.com/.git",
            "example.com/x.",
            "example.com/..",
            "example.com/con",
            "example.com/Aux.go",
            "example.com/foo~1",
            "example.com/a+b",
            "example.com/é",
            "example.com/a b",
            "example.com/a@v1",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn file_paths() {
        for good in ["a b.go", ".github/x", "漢字/é.go", "foo~1", "-x", "a@b", "a+b,c=d"] {
            assert_eq!(check_file_path(good), Ok(()), "{good}");
        }
        for bad in ["a*b", "a:b", "a\\b", "x/nul.txt", "a/../b", "\u{301}", "Ⅷ", "a\nb", "a'b", "x/"] {
            assert!(check_file_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_the_path_and_the_rule() {
        let error = check_path("example.com/v1").unwrap_err();
        assert_eq!(error.to_string(), "malformed module path \"example.com/v1\": invalid version");
    }

    #[test]
    fn version_suffixes() {
        assert_eq!(split_path_version("example.com/m/v2"), Some(("example.com/m", "/v2")));
        assert_eq!(split_path_version("example.com/m"), Some(("example.com/m", "")));
        assert_eq!(split_path_version("example.com/m/v"), Some(("example.com/m/v", "")));
        assert_eq!(split_path_version("gopkg.in/yaml.v2-unstable"), Some(("gopkg.in/yaml", ".v2-unstable")));
        assert_eq!(split_path_version("gopkg.in/yaml.v0"), Some(("gopkg.in/yaml", ".v0")));
        assert_eq!(split_path_version("example.com/m/v1"), None);
    }

    #[test]
    fn serde_checks() {
        let path: ModulePath = serde_json::from_str("\"example.com/A\"").unwrap();
        assert_eq!(path.escaped(), "example.com/!a");
        assert_eq!(serde_json::to_string(&path).unwrap(), "\"example.com/A\"");
        assert!(serde_json::from_str::<ModulePath>("\"nodot\"").is_err());
    }
}
