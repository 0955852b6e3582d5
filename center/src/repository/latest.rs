//! The choice of the latest version, as the `go` command's query `latest` makes it over a list.
//!
//! The highest release, else the highest pre-release. `+incompatible` versions count only if the highest compatible one
//! has no go.mod of its own. Retracted versions do not count; what is retracted, the go.mod of the version says that
//! would be latest if nothing was.

use std::future::Future;

use bytes::Bytes;
use serde::Deserialize;
use shared::module::{ModulePath, Version, gomod, semver};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::RepoError;

/// Chooses among tagged versions in ascending order. `has_gomod` is asked at most once, of the highest compatible
/// version, and only if there are `+incompatible` ones above it.
pub(super) async fn choose<F, Fut>(
    versions: &[Version],
    is_allowed: impl Fn(&Version) -> bool,
    has_gomod: F,
) -> Result<Option<Version>, RepoError>
where
    F: FnOnce(Version) -> Fut,
    Fut: Future<Output = Result<bool, RepoError>>,
{
    let allowed: Vec<&Version> = versions.iter().filter(|version| is_allowed(version)).collect();
    let first_incompatible = allowed.iter().position(|version| version.is_incompatible());
    let considered = match first_incompatible {
        Some(end) if end > 0 && has_gomod(allowed[end - 1].clone()).await? => &allowed[..end],
        _ => &allowed[..],
    };
    let release = considered.iter().rev().find(|version| !version.is_prerelease());
    Ok(release.or_else(|| considered.last()).map(|version| (*version).clone()))
}

/// The latest of the listed versions that is not retracted. What is retracted, the go.mod of the latest version says, be that
/// retracted itself or not. `gomod` gives the go.mod of a version.
pub(super) async fn unretracted<F, Fut>(
    module: &ModulePath,
    versions: &[Version],
    gomod: F,
) -> Result<Option<Version>, RepoError>
where
    F: Fn(Version) -> Fut,
    Fut: Future<Output = Result<Bytes, RepoError>>,
{
    let has_gomod = |version| async { Ok(is_written(module, &gomod(version).await?)) };
    let Some(top) = choose(versions, |_| true, has_gomod).await? else {
        return Ok(None);
    };
    let retractions = match gomod(top).await {
        Ok(body) => Retractions::of(&body),
        // A version that is listed but not to be had retracts nothing.
        Err(error) if error.is_absent() => Retractions::default(),
        Err(error) => return Err(error),
    };
    choose(versions, |version| !retractions.contain(version), has_gomod).await
}

/// Whether a go.mod was written by somebody, rather than made up for a version without one.
pub(super) fn is_written(module: &ModulePath, body: &[u8]) -> bool {
    body != gomod::synthesized(module).as_bytes()
}

/// The intervals that a go.mod retracts.
#[derive(Debug, Default)]
struct Retractions(Vec<(String, String)>);

impl Retractions {
    /// Reads them.
    fn of(body: &[u8]) -> Self {
        Self(gomod::directives(body).retract)
    }

    /// Whether they contain a version.
    fn contain(&self, version: &Version) -> bool {
        self.0.iter().any(|(low, high)| {
            semver::compare(low, version.as_str()).is_le() && semver::compare(version.as_str(), high).is_le()
        })
    }
}

/// The version that an `.info` names, if it is canonical for the module.
pub(super) fn version_of_info(module: &ModulePath, body: &[u8]) -> Option<Version> {
    #[derive(Deserialize)]
    struct Info {
        #[serde(rename = "Version")]
        version: String,
        /// Without it the zero time is meant; of what is no time the `go` command makes an error.
        #[serde(rename = "Time")]
        time: Option<String>,
    }
    let info: Info = serde_json::from_slice(body).ok()?;
    if info.time.is_some_and(|time| OffsetDateTime::parse(&time, &Rfc3339).is_err()) {
        return None;
    }
    Version::new(module, &info.version).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn latest(list: &[&str], retracted: &[(&str, &str)], gomod: bool) -> Option<String> {
        let module = ModulePath::new("example.com/a").unwrap();
        let versions: Vec<Version> = list.iter().map(|v| Version::new(&module, v).unwrap()).collect();
        let retract = retracted.iter().map(|(low, high)| ((*low).to_owned(), (*high).to_owned()));
        let retractions = Retractions(retract.collect());
        let chosen = choose(&versions, |version| !retractions.contain(version), |_| async move { Ok(gomod) });
        chosen.await.unwrap().map(|version| version.to_string())
    }

    #[tokio::test]
    async fn releases_go_before_prereleases() {
        assert_eq!(latest(&["v1.0.0", "v1.1.0-rc.1"], &[], true).await.as_deref(), Some("v1.0.0"));
        assert_eq!(latest(&["v1.0.0-a", "v1.0.0-b"], &[], true).await.as_deref(), Some("v1.0.0-b"));
        assert_eq!(latest(&[], &[], true).await, None);
    }

    #[tokio::test]
    async fn incompatible_versions_count_only_without_a_gomod() {
        let list = ["v1.0.0", "v2.0.0+incompatible"];
        assert_eq!(latest(&list, &[], true).await.as_deref(), Some("v1.0.0"));
        assert_eq!(latest(&list, &[], false).await.as_deref(), Some("v2.0.0+incompatible"));
        assert_eq!(latest(&list[1..], &[], true).await.as_deref(), Some("v2.0.0+incompatible"));
    }

    #[tokio::test]
    async fn retracted_versions_do_not_count() {
        let list = ["v1.0.0", "v1.1.0", "v1.2.0"];
        assert_eq!(latest(&list, &[("v1.1.0", "v1.2.0")], true).await.as_deref(), Some("v1.0.0"));
        assert_eq!(latest(&list, &[("v1.0.0", "v1.9.9")], true).await, None);
    }

    #[test]
    fn an_info_names_a_canonical_version() {
        let module = ModulePath::new("example.com/a").unwrap();
        let named = |text: &str| version_of_info(&module, text.as_bytes()).map(|version| version.to_string());
        assert_eq!(named(r#"{"Version":"v1.0.0","Time":"2020-01-01T00:00:00Z"}"#).as_deref(), Some("v1.0.0"));
        assert_eq!(named(r#"{"Version":"v1.0.0"}"#).as_deref(), Some("v1.0.0"));
        assert_eq!(named(r#"{"Version":"v1.0.0","Time":"yesterday"}"#), None);
        assert_eq!(named(r#"{"Version":"v1.0"}"#), None);
        assert_eq!(named("not json"), None);
    }
}
