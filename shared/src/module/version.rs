//! Which versions belong to a module path, and the type that carries the proof.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::path::{ModulePath, PathError, check_path, split_path_version};
use super::{escape, pseudo, semver};

/// A version that breaks a rule, and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The path that should carry the version is invalid itself.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Not a semantic version at all.
    #[error("version {version:?} invalid: not a semantic version")]
    NotSemantic {
        /// As given.
        version: String,
    },
    /// The major version does not fit the path's suffix.
    #[error("version {version:?} invalid: should be {wanted}, not {found}")]
    Major {
        /// As given.
        version: String,
        /// What the path asks for, such as `v2` or `v0 or v1`.
        wanted: String,
        /// The version's own major version.
        found: String,
    },
    /// Valid, but not in its full form.
    #[error("version {version:?} is not canonical")]
    NotCanonical {
        /// As given.
        version: String,
    },
    /// Cannot be written in escaped form.
    #[error("version {version:?} invalid: disallowed version string")]
    Disallowed {
        /// As given.
        version: String,
    },
    /// Not the escaped form of anything.
    #[error("invalid escaped version {escaped:?}: {reason}")]
    Escaped {
        /// As given.
        escaped: String,
        /// The rule that was broken.
        reason: String,
    },
    /// Not a pseudo-version, or one that cannot have come from a commit.
    #[error("pseudo-version {version:?} invalid: {reason}")]
    Pseudo {
        /// As given.
        version: String,
        /// The rule that was broken.
        reason: String,
    },
}

/// A version that is canonical for some module path: [`check`] passes and [`canonical_version`] leaves it as it is.
///
/// Ordered by semantic version precedence, then as text, so that equal order means equal text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// Checks that `version` is canonical for `path`.
    pub fn new(path: &ModulePath, version: &str) -> Result<Self, VersionError> {
        check_for(path.as_str(), version)?;
        if canonical_version(version) != version {
            return Err(VersionError::NotCanonical { version: version.to_owned() });
        }
        Ok(Self(version.into()))
    }

    /// The plain version.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form on the wire.
    pub fn escaped(&self) -> String {
        escape::escape(&self.0)
    }

    /// Whether it names a commit rather than a tag.
    pub fn is_pseudo(&self) -> bool {
        pseudo::is_pseudo_version(&self.0)
    }

    /// Whether it has a pre-release part; pseudo-versions have one.
    pub fn is_prerelease(&self) -> bool {
        !semver::prerelease(&self.0).is_empty()
    }

    /// Whether it ends in `+incompatible`.
    pub fn is_incompatible(&self) -> bool {
        semver::build(&self.0) == "+incompatible"
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        semver::compare(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Version {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The full form of `v`: missing parts filled in, build metadata dropped except `+incompatible`
/// (`module.CanonicalVersion`). Of an invalid version it is empty.
pub fn canonical_version(v: &str) -> String {
    let mut canonical = semver::canonical(v);
    if semver::build(v) == "+incompatible" {
        canonical.push_str("+incompatible");
    }
    canonical
}

/// Whether `path` is a valid module path and `version` a semantic version that may belong to it (`module.Check`).
pub fn check(path: &str, version: &str) -> Result<(), VersionError> {
    check_path(path)?;
    check_for(path, version)
}

fn check_for(valid_path: &str, version: &str) -> Result<(), VersionError> {
    if !semver::is_valid(version) {
        return Err(VersionError::NotSemantic { version: version.to_owned() });
    }
    let (_, path_major) = split_path_version(valid_path).unwrap_or((valid_path, ""));
    check_path_major(version, path_major)
}

/// Whether `version` fits the suffix that [`split_path_version`] gave (`module.CheckPathMajor`).
pub fn check_path_major(version: &str, path_major: &str) -> Result<(), VersionError> {
    let path_major = match path_major.strip_suffix("-unstable") {
        Some(stable) if path_major.starts_with(".v") => stable,
        _ => path_major,
    };
    // Old pseudo-versions of gopkg.in/….v1 begin with v0.0.0- and are in use.
    if path_major == ".v1" && version.starts_with("v0.0.0-") {
        return Ok(());
    }
    let found = semver::major(version);
    let wanted = path_major.strip_prefix(['/', '.']);
    let fits = match wanted {
        Some(wanted) => found == wanted,
        None => path_major.is_empty() && (matches!(found, "v0" | "v1") || semver::build(version) == "+incompatible"),
    };
    if fits {
        return Ok(());
    }
    let wanted = if path_major.is_empty() { "v0 or v1" } else { wanted.unwrap_or(path_major) };
    Err(VersionError::Major { version: version.to_owned(), wanted: wanted.to_owned(), found: found.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ModulePath {
        ModulePath::new(text).unwrap()
    }

    #[test]
    fn canonical_versions_only() {
        for (module, version) in [
            ("example.com/m", "v1.2.3"),
            ("example.com/m", "v2.0.0+incompatible"),
            ("example.com/m/v2", "v2.0.0-pre"),
            ("gopkg.in/check.v1", "v0.0.0-20161208181325-20d25e280405"),
            ("gopkg.in/yaml.v2-unstable", "v2.1.0"),
        ] {
            let checked = Version::new(&path(module), version).unwrap();
            assert_eq!(checked.as_str(), version);
        }
        for (module, version) in [
            ("example.com/m", "v1"),
            ("example.com/m", "v1.2"),
            ("example.com/m", "v1.2.3+meta"),
            ("example.com/m", "v2.0.0"),
            ("example.com/m", "main"),
            ("example.com/m", ""),
            ("example.com/m/v2", "v1.0.0"),
            ("gopkg.in/yaml.v2", "v3.0.0"),
        ] {
            assert!(Version::new(&path(module), version).is_err(), "{module} {version}");
        }
    }

    #[test]
    fn order_is_total_and_semantic() {
        let module = path("example.com/m");
        let mut versions: Vec<_> = ["v1.10.0", "v1.2.0", "v1.2.0-rc.1", "v2.0.0+incompatible", "v0.1.0"]
            .iter()
            .map(|v| Version::new(&module, v).unwrap())
            .collect();
        versions.sort();
        let sorted: Vec<_> = versions.iter().map(Version::as_str).collect();
        assert_eq!(sorted, ["v0.1.0", "v1.2.0-rc.1", "v1.2.0", "v1.10.0", "v2.0.0+incompatible"]);
    }

    #[test]
    fn kinds_of_versions() {
        let module = path("example.com/m");
        let pseudo = Version::new(&module, "v0.0.0-20191109021931-daa7c04131f5").unwrap();
        assert!(pseudo.is_pseudo() && pseudo.is_prerelease());
        let capital = Version::new(&module, "v1.0.0-RC1").unwrap();
        assert!(!capital.is_pseudo() && capital.is_prerelease());
        assert_eq!(capital.escaped(), "v1.0.0-!r!c1");
        assert_eq!(serde_json::to_string(&capital).unwrap(), "\"v1.0.0-RC1\"");
    }

    #[test]
    fn error_names_what_the_path_asks_for() {
        let error = check("example.com/m/v2", "v1.0.0").unwrap_err();
        assert_eq!(error.to_string(), "version \"v1.0.0\" invalid: should be v2, not v1");
    }
}
