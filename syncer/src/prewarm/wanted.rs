//! What somebody wants to be warm, and why.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::module::{ModulePath, Version};

/// One version of one module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The module.
    pub(crate) module: ModulePath,
    /// Its version.
    pub(crate) version: Version,
}

impl Key {
    /// Of a path and a version as written.
    ///
    /// # Errors
    /// What is wrong with them (Go modules reference, "Module paths" and "Versions").
    pub(crate) fn new(module: &str, version: &str) -> Result<Self, String> {
        let module = ModulePath::new(module).map_err(|error| error.to_string())?;
        let version = Version::new(&module, version).map_err(|error| error.to_string())?;
        Ok(Self { module, version })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.module, self.version)
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (module, version) = text.split_once('@').ok_or_else(|| format!("\"{text}\" is not module@version"))?;
        Self::new(module, version)
    }
}

/// Which of a version's artefacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub(crate) struct Parts(u8);

impl Parts {
    /// None of them.
    pub(crate) const NONE: Self = Self(0);
    /// Its time and origin.
    pub(crate) const INFO: Self = Self(1);
    /// Its go.mod.
    pub(crate) const MOD: Self = Self(2);
    /// Its content.
    pub(crate) const ZIP: Self = Self(4);
    /// What the `go` command reads of a module that is only in the graph.
    pub(crate) const GRAPH: Self = Self(1 | 2);
    /// All of it.
    pub(crate) const ALL: Self = Self(1 | 2 | 4);

    /// Each by itself, the small ones first.
    pub(crate) fn each(self) -> impl Iterator<Item = Self> {
        [Self::INFO, Self::MOD, Self::ZIP].into_iter().filter(move |part| !(self & *part).is_empty())
    }

    /// Whether there is nothing.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
    pub(crate) fn count(self) -> usize {
        self.each().count()
    }

    /// The ends of the paths, such as `info mod zip`.
    pub(crate) fn names(self) -> String {
        self.each().map(Self::extension).collect::<Vec<_>>().join(" ")
    }

    /// The end of the path of the first of them.
    pub(crate) fn extension(self) -> &'static str {
        if !(self & Self::INFO).is_empty() {
            "info"
        } else if !(self & Self::MOD).is_empty() {
            "mod"
        } else {
            "zip"
        }
    }
}

impl BitOr for Parts {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Parts {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Parts {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}

/// What kind of source wants it. The order is that of the queue: a project that somebody works on goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CauseKind {
    /// A go.mod, go.sum or go.work.
    Project,
    /// A new version of a module that is asked for often.
    NewVersion,
    /// A list of the configuration.
    List,
    /// A bill of materials.
    Sbom,
    /// A module that an edge is asked for often.
    Hot,
    /// A toolchain.
    Toolchain,
}

impl CauseKind {
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Project, "project"),
        (Self::NewVersion, "new-version"),
        (Self::List, "list"),
        (Self::Sbom, "sbom"),
        (Self::Hot, "hot"),
        (Self::Toolchain, "toolchain"),
    ];

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// Why something is wanted: the kind of source, and which one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cause {
    /// The kind.
    pub(crate) kind: CauseKind,
    /// The file, repository or edge; a credential is never part of it.
    pub(crate) source: Arc<str>,
}

impl Cause {
    /// Of this source.
    pub(crate) fn new(kind: CauseKind, source: impl AsRef<str>) -> Self {
        Self { kind, source: source.as_ref().into() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.source)
    }
}

impl FromStr for Cause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, source) = text.split_once(':').ok_or_else(|| format!("\"{text}\" is no cause"))?;
        let kind = CauseKind::NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
        Ok(Self::new(kind.ok_or_else(|| format!("\"{name}\" is no kind of cause"))?, source))
    }
}

impl Serialize for Cause {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One version that is to be warm at every edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Which.
    pub(crate) key: Key,
    /// What of it.
    pub(crate) parts: Parts,
    /// Why; the kind decides the place in the queue.
    pub(crate) cause: Cause,
    /// Ask the edges even if they held it a while ago, and try again what was given up.
    pub(crate) anew: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_a_set() {
        assert_eq!(Parts::ALL.names(), "info mod zip");
        assert_eq!((Parts::ALL & !Parts::ZIP).names(), "info mod");
        assert_eq!((Parts::INFO | Parts::MOD, Parts::NONE.count()), (Parts::GRAPH, 0));
    }

    #[test]
    fn causes_and_keys_are_read_as_they_are_written() {
        for text in ["project:/srv/a:b/go.mod", "new-version:upstream", "list:x"] {
            assert_eq!(text.parse::<Cause>().unwrap().to_string(), text);
        }
        assert!("nothing:x".parse::<Cause>().is_err() && "project".parse::<Cause>().is_err());
        assert_eq!("example.com/A@v1.0.0".parse::<Key>().unwrap().to_string(), "example.com/A@v1.0.0");
        assert!("example.com/A@main".parse::<Key>().is_err());
    }
}
