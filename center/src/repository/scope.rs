//! Which module paths a repository answers for, by its include and exclude patterns.

use shared::module::{ModulePath, Patterns};

use super::{Inner, RepoError, Repository};

/// The patterns of one repository.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// What it answers for; without a pattern, everything.
    pub(super) include: Patterns,
    /// What it does not answer for all the same.
    pub(super) exclude: Patterns,
}

impl Scope {
    /// Whether a path may be answered here.
    pub(super) fn contains(&self, path: &str) -> bool {
        (self.include.is_empty() || self.include.matches(path)) && !self.exclude.matches(path)
    }
}

/// Who answers for a path.
impl Repository {
    /// The repository that alone may answer for a path: this one, or the first of its members that owns it.
    pub(crate) fn owner_of(&self, module: &ModulePath) -> Option<&str> {
        if self.owners.owns(&self.name, module.as_str()) {
            return Some(&self.name);
        }
        match &self.inner {
            Inner::Local(_) | Inner::Private(_) | Inner::Remote(_) => None,
            Inner::Virtual(virtual_) => virtual_.owner_of(module),
        }
    }

    /// Whether the owners of a path let this repository, or one below it, answer for it.
    pub(super) fn may_answer(&self, module: &ModulePath) -> bool {
        match &self.inner {
            Inner::Local(_) | Inner::Private(_) | Inner::Remote(_) => {
                self.owners.may_answer(&self.name, module.as_str())
            }
            Inner::Virtual(virtual_) => virtual_.members.iter().any(|member| member.may_answer(module)),
        }
    }

    /// Whether the patterns here, and those of some member, let a module through.
    pub(crate) fn is_in_scope(&self, module: &ModulePath) -> bool {
        let below = || match &self.inner {
            Inner::Local(_) | Inner::Private(_) | Inner::Remote(_) => true,
            Inner::Virtual(virtual_) => virtual_.members.iter().any(|member| member.is_in_scope(module)),
        };
        self.scope.contains(module.as_str()) && below()
    }

    pub(super) fn require_in_scope(&self, module: &ModulePath) -> Result<(), RepoError> {
        if self.scope.contains(module.as_str()) {
            return Ok(());
        }
        Err(RepoError::Blocked(format!("{module} is not among what repository {:?} answers for", self.name)))
    }

    /// The names of the local and remote repositories this one stands for, itself included if it is one.
    pub(crate) fn leaves(&self) -> Vec<String> {
        match &self.inner {
            Inner::Local(_) | Inner::Private(_) | Inner::Remote(_) => vec![self.name.clone()],
            Inner::Virtual(virtual_) => virtual_.leaves(),
        }
    }

    /// Whether one of the repositories below may answer here for a module at all: by who owns it, and by the patterns of all on
    /// the way to it.
    pub(crate) fn lets_answer(&self, leaf: &str, module: &str) -> bool {
        let may = || match &self.inner {
            Inner::Local(_) | Inner::Private(_) | Inner::Remote(_) => {
                self.name == leaf && self.owners.may_answer(leaf, module)
            }
            Inner::Virtual(virtual_) => virtual_.members.iter().any(|member| member.lets_answer(leaf, module)),
        };
        self.scope.contains(module) && may()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_beats_inclusion_and_no_inclusion_is_everything() {
        let patterns = |text: &str| Patterns::new([text.to_owned()]).unwrap();
        for (include, exclude, module, expected) in [
            ("", "", "example.com/a", true),
            ("example.com", "", "example.com/a", true),
            ("example.com", "", "example.org/a", false),
            ("*.com/a", "", "example.com/a/v2", true),
            ("*.com/a", "", "example.com/ab", false),
            ("", "example.com/a", "example.com/a/b", false),
            ("", "example.com/a", "example.com/b", true),
            ("example.com", "example.com/secret*", "example.com/secrets", false),
        ] {
            let scope = Scope { include: patterns(include), exclude: patterns(exclude) };
            assert_eq!(scope.contains(module), expected, "{include:?} {exclude:?} {module}");
        }
    }
}
