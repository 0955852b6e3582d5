//! Ownership: which paths belong to a repository and are therefore asked of nobody else.
//!
//! A path belongs to a repository when it matches one of the patterns that it owns (as GOPRIVATE matches), or equals or lies
//! below a module path that was ever published there. A virtual repository owns for its members. The nearest owners count:
//! what a local repository owns is not asked of a remote one because a virtual repository above both owns it too. One
//! registry serves all repositories of a center, because a path that is owned must be refused whichever way the request came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use shared::module::{ModulePath, Patterns};

/// What was ever published, by repository. It outlives a change of the configuration.
pub(super) type Published = Arc<RwLock<BTreeMap<String, BTreeSet<String>>>>;

/// Who owns what.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    claims: RwLock<BTreeMap<String, Claim>>,
    published: Published,
}

#[derive(Debug)]
struct Claim {
    patterns: Patterns,
    holder: Holder,
}

/// For whom a claim counts.
#[derive(Debug)]
enum Holder {
    /// A repository whose modules are its own: it answers for what it owns and for nothing else.
    Own,
    /// A repository that also answers for what nobody owns.
    Open,
    /// These repositories, which are below a virtual one.
    Group(Vec<String>),
}

impl Owners {
    /// Nobody owns anything but by what was published.
    pub(super) fn new(published: Published) -> Self {
        Self { claims: RwLock::default(), published }
    }

    /// What was published, for the owners of another configuration.
    pub(super) fn published(&self) -> Published {
        Arc::clone(&self.published)
    }

    /// Notes a local repository with its patterns.
    pub(super) fn add(&self, repository: &str, patterns: &Patterns) {
        self.note(repository, patterns, Holder::Own);
    }

    /// Notes a remote repository with its patterns.
    pub(super) fn add_open(&self, repository: &str, patterns: &Patterns) {
        self.note(repository, patterns, Holder::Open);
    }

    /// Notes a virtual repository with its patterns and all that is below it.
    pub(super) fn add_group(&self, repository: &str, patterns: &Patterns, leaves: Vec<String>) {
        self.note(repository, patterns, Holder::Group(leaves));
    }

    fn note(&self, repository: &str, patterns: &Patterns, holder: Holder) {
        self.claims.write().insert(repository.to_owned(), Claim { patterns: patterns.clone(), holder });
    }

    /// Notes that a module path was published to a local repository, which thereby owns it for good.
    pub(super) fn claim(&self, repository: &str, module: &str) {
        let mut published = self.published.write();
        published.entry(repository.to_owned()).or_default().insert(module.to_owned());
    }

    /// Whether it is known what was published to a repository.
    pub(super) fn knows_published(&self, repository: &str) -> bool {
        self.published.read().contains_key(repository)
    }

    /// It is known from now on, be it nothing.
    pub(super) fn know_published(&self, repository: &str, modules: BTreeSet<String>) {
        self.published.write().entry(repository.to_owned()).or_default().extend(modules);
    }

    /// Whether a repository is one of the nearest owners of a path.
    pub(super) fn owns(&self, repository: &str, module: &str) -> bool {
        self.nearest(module, |owners| owners.iter().any(|(name, _)| *name == repository))
    }

    /// The first of the nearest owners of a path, by name.
    pub(crate) fn owner_of(&self, module: &ModulePath) -> Option<String> {
        self.nearest(module.as_str(), |owners| owners.first().map(|(name, _)| (*name).to_owned()))
    }

    /// The owner that keeps a path from being published to another repository: by its patterns, or because the very path was
    /// published there, and not here.
    pub(super) fn keeps_from(&self, repository: &str, module: &ModulePath) -> Option<String> {
        if let Some(other) = self.published_elsewhere(repository, module) {
            return Some(other);
        }
        self.nearest(module.as_str(), |owners| {
            let may_take = |(name, claim): &(&str, &Claim)| match &claim.holder {
                Holder::Own | Holder::Open => *name == repository || !claim.patterns.matches(module.as_str()),
                Holder::Group(leaves) => leaves.iter().any(|leaf| leaf == repository),
            };
            let is_kept = !owners.is_empty() && !owners.iter().any(may_take);
            is_kept.then(|| owners[0].0.to_owned())
        })
    }

    /// Whether a path belongs to a repository already, or to a group that it is in.
    pub(super) fn is_claimed_for(&self, repository: &str, module: &ModulePath) -> bool {
        self.nearest(module.as_str(), |owners| {
            owners.iter().any(|(name, claim)| match &claim.holder {
                Holder::Own | Holder::Open => *name == repository,
                Holder::Group(leaves) => leaves.iter().any(|leaf| leaf == repository),
            })
        })
    }

    /// The repository that has a path which this one has not.
    fn published_elsewhere(&self, repository: &str, module: &ModulePath) -> Option<String> {
        let published = self.published.read();
        let is_here = published.get(repository).is_some_and(|modules| modules.contains(module.as_str()));
        let mut others =
            published.iter().filter(|(name, modules)| *name != repository && modules.contains(module.as_str()));
        if is_here { None } else { others.next().map(|(name, _)| name.clone()) }
    }

    /// Whether a local or remote repository may answer for a path: an owned one only if it owns it.
    pub(super) fn may_answer(&self, repository: &str, module: &str) -> bool {
        let own = self.claims.read().get(repository).is_some_and(|claim| matches!(claim.holder, Holder::Own));
        self.nearest(module, |owners| match owners {
            [] => !own,
            owners => owners.iter().any(|(name, claim)| match &claim.holder {
                Holder::Own | Holder::Open => *name == repository,
                Holder::Group(leaves) => !own && leaves.iter().any(|leaf| leaf == repository),
            }),
        })
    }

    /// The owners of a path that have no owner below them.
    fn nearest<T>(&self, module: &str, of: impl FnOnce(&[(&str, &Claim)]) -> T) -> T {
        let (claims, published) = (self.claims.read(), self.published.read());
        let has_published = |name: &str| {
            let of_it = published.get(name).filter(|modules| !modules.is_empty());
            of_it.is_some_and(|modules| prefixes(module).any(|path| modules.contains(path)))
        };
        let covers = |name: &str, claim: &Claim| match claim.holder {
            Holder::Own => claim.patterns.matches(module) || has_published(name),
            Holder::Open | Holder::Group(_) => claim.patterns.matches(module),
        };
        let owners = claims.iter().map(|(name, claim)| (name.as_str(), claim));
        let owners: Vec<_> = owners.filter(|(name, claim)| covers(name, claim)).collect();
        // What belongs to this house belongs to no remote repository, however wide that one's claim is.
        let rank = |claim: &Claim| match claim.holder {
            Holder::Own => 2,
            Holder::Open => 1,
            Holder::Group(_) => 0,
        };
        let nearest = owners.iter().map(|(_, claim)| rank(claim)).max().unwrap_or_default();
        let owners: Vec<_> = owners.into_iter().filter(|(_, claim)| rank(claim) == nearest).collect();
        of(&owners)
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

    fn patterns(text: &str) -> Patterns {
        Patterns::new([text.to_owned()]).unwrap()
    }

    #[test]
    fn patterns_and_published_paths_own_by_whole_elements() {
        let owners = Owners::default();
        owners.add("a", &patterns("corp.example.com/*"));
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

    #[test]
    fn a_remote_that_owns_a_path_alone_answers_for_it_and_goes_on_answering_for_others() {
        let owners = Owners::default();
        owners.add_open("partner", &patterns("partner.test/*"));
        owners.add_open("public", &Patterns::default());
        assert!(owners.may_answer("partner", "partner.test/x"));
        assert!(!owners.may_answer("public", "partner.test/x"));
        assert!(owners.may_answer("partner", "example.com/x") && owners.may_answer("public", "example.com/x"));
    }

    #[test]
    fn what_belongs_to_the_house_is_asked_of_no_remote_however_wide_its_claim() {
        let owners = Owners::default();
        owners.add_open("public", &patterns("github.com"));
        owners.add("corp", &patterns("github.com/corp/*"));
        assert!(owners.may_answer("corp", "github.com/corp/secret"));
        assert!(!owners.may_answer("public", "github.com/corp/secret"));
        assert!(owners.may_answer("public", "github.com/other/x"));
    }

    #[test]
    fn the_nearest_owners_count() {
        let owners = Owners::default();
        owners.add("local", &Patterns::default());
        owners.add_open("inner-remote", &Patterns::default());
        owners.add_group("inner", &patterns("corp.test"), vec!["local".into(), "inner-remote".into()]);
        assert_eq!(owners.owner_of(&path("corp.test/x")).as_deref(), Some("inner"));
        assert!(owners.may_answer("inner-remote", "corp.test/x"));
        assert!(!owners.may_answer("outer-remote", "corp.test/x") && !owners.may_answer("local", "corp.test/x"));
        owners.claim("local", "corp.test/x");
        assert_eq!(owners.owner_of(&path("corp.test/x")).as_deref(), Some("local"));
        assert!(!owners.may_answer("inner-remote", "corp.test/x") && owners.may_answer("local", "corp.test/x"));
        assert!(owners.may_answer("inner-remote", "corp.test/y"));
    }

    #[test]
    fn what_was_published_outlives_a_configuration() {
        let before = Owners::default();
        before.add("local", &Patterns::default());
        let after = Owners::new(before.published());
        after.add("local", &patterns("corp.test"));
        before.claim("local", "example.com/late");
        assert!(after.owns("local", "example.com/late") && after.owns("local", "corp.test/x"));
    }
}
