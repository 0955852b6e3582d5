//! Ownership: which paths belong to a local repository and are therefore asked of nobody else.
//!
//! A path belongs to a local repository when it matches one of its configured patterns (as GOPRIVATE matches), or equals
//! or lies below a module path that was ever published there. One registry serves all repositories of a center, because
//! a remote repository must refuse an owned path whichever way the request came.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;
use shared::module::{ModulePath, Patterns};

/// Who owns what.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    claims: RwLock<BTreeMap<String, Claim>>,
}

#[derive(Debug, Default)]
struct Claim {
    patterns: Patterns,
    published: BTreeSet<String>,
}

impl Claim {
    fn covers(&self, module: &str) -> bool {
        let published = !self.published.is_empty() && prefixes(module).any(|path| self.published.contains(path));
        published || self.patterns.matches(module)
    }
}

impl Owners {
    /// Notes a local repository with its patterns.
    pub(super) fn add(&self, repository: &str, patterns: &Patterns) {
        let mut claims = self.claims.write();
        claims.entry(repository.to_owned()).or_default().patterns = patterns.clone();
    }

    /// Notes that a module path was published to a local repository, which thereby owns it for good.
    pub(super) fn claim(&self, repository: &str, module: &str) {
        let mut claims = self.claims.write();
        claims.entry(repository.to_owned()).or_default().published.insert(module.to_owned());
    }

    /// Whether a local repository owns a path.
    pub(super) fn owns(&self, repository: &str, module: &str) -> bool {
        self.claims.read().get(repository).is_some_and(|claim| claim.covers(module))
    }

    /// The first local repository, by name, that owns a path.
    pub(crate) fn owner_of(&self, module: &ModulePath) -> Option<String> {
        let claims = self.claims.read();
        claims.iter().find(|(_, claim)| claim.covers(module.as_str())).map(|(name, _)| name.clone())
    }

    /// Whether a local or remote repository may answer for a path: an owned one only if it owns it.
    pub(super) fn may_answer(&self, repository: &str, module: &str) -> bool {
        let claims = self.claims.read();
        match claims.get(repository) {
            Some(claim) => claim.covers(module),
            None => !claims.values().any(|claim| claim.covers(module)),
        }
    }
}

/// The path and all that it lies below: `a.b/c/d`, `a.b/c`, `a.b`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rfind('/').map(|end| &path[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ModulePath {
        ModulePath::new(text).unwrap()
    }

    #[test]
    fn patterns_and_published_paths_own_by_whole_elements() {
        let owners = Owners::default();
        owners.add("a", &Patterns::new(["corp.example.com/*".to_owned()]).unwrap());
        owners.add("b", &Patterns::default());
        owners.claim("b", "example.com/lib");
        for (module, owner) in [
            ("corp.example.com/x", Some("a")),
            ("corp.example.com/x/y", Some("a")),
            ("corp.example.com", None),
            ("example.com/lib", Some("b")),
            ("example.com/lib/sub/v2", Some("b")),
            ("example.com/library", None),
            ("example.com", None),
        ] {
            assert_eq!(owners.owner_of(&path(module)).as_deref(), owner, "{module}");
        }
    }

    #[test]
    fn a_remote_may_answer_only_for_what_nobody_owns() {
        let owners = Owners::default();
        owners.add("local", &Patterns::default());
        owners.claim("local", "example.com/lib");
        assert!(owners.may_answer("local", "example.com/lib/x"));
        assert!(!owners.may_answer("remote", "example.com/lib/x"));
        assert!(owners.may_answer("remote", "example.com/other"));
        assert!(!owners.may_answer("local", "example.com/other"));
    }
}
