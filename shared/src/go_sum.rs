//! The go.sum file: `<module> <version>[/go.mod] h1:<hash>`, one a line.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::module::{ModulePath, Version};

/// One version of one module, and the hashes that are accepted for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The module.
    pub module: ModulePath,
    /// Its version.
    pub version: Version,
    /// Accepted `h1:` of the zip; empty when only the go.mod is named.
    pub zip: BTreeSet<String>,
    /// Accepted `h1:` of the go.mod; empty when it is not named.
    pub gomod: BTreeSet<String>,
}

/// A line that no go.sum has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub struct GoSumError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// Reads a go.sum. Blank lines and hashes of an unknown kind are passed over, as the `go` command does; several hashes
/// of one version are all accepted.
///
/// # Errors
/// Names the first line that no go.sum has.
pub fn parse(text: &str) -> Result<Vec<Entry>, GoSumError> {
    let mut entries: BTreeMap<(ModulePath, Version), Entry> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let error = |message: String| GoSumError { line: index + 1, message };
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (module, version, hash) = match fields.as_slice() {
            [] => continue,
            [module, version, hash] => (*module, *version, *hash),
            other => {
                return Err(error(format!("expected a module, a version and a hash, found {} fields", other.len())));
            }
        };
        let (version, is_gomod) = match version.strip_suffix("/go.mod") {
            Some(version) => (version, true),
            None => (version, false),
        };
        let module = ModulePath::new(module).map_err(|wrong| error(wrong.to_string()))?;
        let version = Version::new(&module, version).map_err(|wrong| error(wrong.to_string()))?;
        let Some((algorithm, encoded)) = hash.split_once(':') else {
            return Err(error(format!("\"{hash}\" is no hash, which begins with h1:")));
        };
        if algorithm != "h1" {
            continue;
        }
        if !STANDARD.decode(encoded).is_ok_and(|bytes| bytes.len() == 32) {
            return Err(error(format!("\"{hash}\" is no h1 hash, which is the base64 of 32 bytes")));
        }
        let entry = entries.entry((module.clone(), version.clone())).or_insert_with(|| Entry {
            module,
            version,
            zip: BTreeSet::new(),
            gomod: BTreeSet::new(),
        });
        let hashes = if is_gomod { &mut entry.gomod } else { &mut entry.zip };
        hashes.insert(hash.to_owned());
    }
    Ok(entries.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: &str = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const G: &str = "h1:BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn lines_of_one_version_are_one_entry() {
        let text = format!(
            "github.com/BurntSushi/toml v1.0.0 {H}\ngithub.com/BurntSushi/toml v1.0.0/go.mod {G}\n\n\
             example.com/a/v2 v2.0.0-20200101000000-abcdefabcdef/go.mod {H}\r\nexample.com/b v2.0.0+incompatible {H}\n"
        );
        let entries = parse(&text).unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].module.as_str(), "example.com/a/v2");
        assert!(entries[0].zip.is_empty());
        assert_eq!(entries[2].zip, BTreeSet::from([H.to_owned()]));
        assert_eq!(entries[2].gomod, BTreeSet::from([G.to_owned()]));
    }

    #[test]
    fn other_algorithms_are_passed_over_and_several_hashes_kept() {
        let entries =
            parse(&format!("example.com/a v1.0.0 {H}\nexample.com/a v1.0.0 {G}\nexample.com/a v1.0.0 h2:x\n")).unwrap();
        assert_eq!(entries[0].zip.len(), 2);
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number() {
        for (line, word) in [
            ("example.com/a v1.0.0".to_owned(), "fields"),
            (format!("example.com/a v1.0.0 {H} x"), "fields"),
            (format!("example.com/a@x v1.0.0 {H}"), "example.com/a@x"),
            (format!("example.com/a master {H}"), "master"),
            (format!("example.com/a v2.0.0 {H}"), "v2.0.0"),
            ("example.com/a v1.0.0 AAAA".to_owned(), "no hash"),
            ("example.com/a v1.0.0 h1:AAAA".to_owned(), "h1 hash"),
        ] {
            let error = parse(&format!("example.com/a v1.0.0 {H}\n\n{line}\n")).unwrap_err();
            assert_eq!(error.line, 3, "{line}");
            assert!(error.message.contains(word), "{line}: {error}");
        }
    }
}
