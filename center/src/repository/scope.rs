//! Which module paths a repository answers for, by its include and exclude patterns.

use shared::module::Patterns;

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
