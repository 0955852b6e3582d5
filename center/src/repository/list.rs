//! Lists of versions: what belongs in one, and how one is written.

use std::collections::HashSet;

use bytes::Bytes;
use shared::artefact::Artefact;
use shared::module::{ModulePath, Version, pseudo, semver};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::RepoError;
use crate::store::Store;

/// The recorded absences in a repository of artefacts whose versions are listed now.
pub(super) async fn contradicted(
    store: &Store,
    repository: &str,
    module: &ModulePath,
    listed: &[Version],
) -> Result<Vec<String>, RepoError> {
    let absent = store.absences(repository, module.as_str()).await?;
    if absent.is_empty() {
        return Ok(absent);
    }
    let parts = [Artefact::Info, Artefact::Mod, Artefact::Zip];
    let names = listed.iter().flat_map(|version| parts.map(|part| part(version.clone()).file_name()));
    let present: HashSet<String> = names.collect();
    Ok(absent.into_iter().filter(|name| present.contains(name)).collect())
}

/// What an upstream's list says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedList {
    /// The tagged versions that are canonical for the module, sorted, each once.
    pub(super) tagged: Vec<Version>,
    /// The newest pseudo-version. It does not belong in a list, but stands for `@latest` where nothing is tagged.
    pub(super) pseudo: Option<Version>,
}

/// Reads a list as the `go` command does: the first field of a line counts, what is no version is passed over.
pub(super) fn parse(module: &ModulePath, body: &[u8]) -> Result<ParsedList, RepoError> {
    let malformed = || RepoError::Upstream(format!("{module}: the upstream's list is no list of versions"));
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    if text.trim_start().starts_with('<') {
        return Err(malformed());
    }
    let mut tagged = Vec::new();
    let mut newest: Option<(OffsetDateTime, Version)> = None;
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some(version) = fields.next().and_then(|field| Version::new(module, field).ok()) else {
            continue;
        };
        if !version.is_pseudo() {
            tagged.push(version);
            continue;
        }
        // A list may carry times; otherwise the pseudo-version says its own.
        let stated = fields.next().and_then(|field| OffsetDateTime::parse(field, &Rfc3339).ok());
        let Some(time) = stated.or_else(|| pseudo::pseudo_version_time(version.as_str()).ok()) else {
            continue;
        };
        if newest.as_ref().is_none_or(|(best, _)| *best < time) {
            newest = Some((time, version));
        }
    }
    sort(&mut tagged);
    Ok(ParsedList { tagged, pseudo: newest.map(|(_, version)| version) })
}

/// Reads a list that this center wrote.
pub(super) fn read_own(module: &ModulePath, body: &[u8]) -> Vec<Version> {
    let text = String::from_utf8_lossy(body);
    text.lines().filter_map(|line| Version::new(module, line).ok()).collect()
}

/// Sorts by semantic version and leaves each version once.
pub(super) fn sort(versions: &mut Vec<Version>) {
    versions.sort_unstable();
    versions.dedup();
}

/// One version a line; empty if there is none.
pub(super) fn write(versions: &[Version]) -> Bytes {
    let mut body = String::new();
    for version in versions {
        body.push_str(version.as_str());
        body.push('\n');
    }
    body.into()
}

/// The newest of some versions by semantic version.
pub(super) fn newest<'a>(versions: impl IntoIterator<Item = &'a Version>) -> Option<&'a Version> {
    versions.into_iter().max_by(|a, b| semver::compare(a.as_str(), b.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(module: &str, body: &str) -> (String, Option<String>) {
        let parsed = parse(&ModulePath::new(module).unwrap(), body.as_bytes()).unwrap();
        let text = String::from_utf8(write(&parsed.tagged).to_vec()).unwrap();
        (text, parsed.pseudo.map(|version| version.to_string()))
    }

    #[test]
    fn only_canonical_tagged_versions_sorted_and_once() {
        let body = "v1.10.0\nv1.9.0\nv1.9.0\nv1.2\nnonsense\nv2.0.0\nv2.0.0+incompatible\nv1.0.0-rc.1\n\n\
                    v0.0.0-20200101000000-abcdefabcdef\nv0.0.0-20210101000000-abcdefabcdef\n";
        let (list, pseudo) = parse_text("example.com/a", body);
        assert_eq!(list, "v1.0.0-rc.1\nv1.9.0\nv1.10.0\nv2.0.0+incompatible\n");
        assert_eq!(pseudo.as_deref(), Some("v0.0.0-20210101000000-abcdefabcdef"));
    }

    #[test]
    fn a_time_beside_a_pseudo_version_counts_more_than_its_own() {
        let body = "v0.0.0-20200101000000-abcdefabcdef 2023-01-01T00:00:00Z\nv0.0.0-20210101000000-abcdefabcdef\n";
        assert_eq!(parse_text("example.com/a", body).1.as_deref(), Some("v0.0.0-20200101000000-abcdefabcdef"));
    }

    #[test]
    fn a_page_instead_of_a_list_is_an_error_and_nothing_is_a_list() {
        let module = ModulePath::new("example.com/a").unwrap();
        assert!(matches!(parse(&module, b"<html>log in</html>"), Err(RepoError::Upstream(_))));
        assert!(matches!(parse(&module, &[0xff, 0xfe]), Err(RepoError::Upstream(_))));
        assert_eq!(parse_text("example.com/a", ""), (String::new(), None));
    }
}
