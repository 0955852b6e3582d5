//! For which repositories a token's grants hold.

use serde::{Deserialize, Deserializer, Serialize, de};

/// The name of a repository, or a pattern in which `*` stands for any part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RepositoryPattern(String);

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// All of the server, or no repository in particular.
    Everywhere,
    /// One repository.
    Repository(&'a str),
}

impl RepositoryPattern {
    /// A pattern; none if it could match no repository's name.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.*".contains(&b);
        (!text.is_empty() && text.bytes().all(fits)).then(|| Self(text.to_owned()))
    }

    /// Whether it covers the repository of this name.
    pub fn covers(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl<'de> Deserialize<'de> for RepositoryPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("{text:?} is neither a repository's name nor a pattern of names"));
        Self::new(&text).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, covers) in [
            ("golang-local", "golang-local", true),
            ("golang-local", "golang-local2", false),
            ("golang-local", "golang", false),
            ("*", "anything", true),
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "a-team-a", false),
            ("*-local", "golang-local", true),
            ("*-local", "golang-local-2", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(RepositoryPattern::new(pattern).unwrap().covers(name), covers, "{pattern} {name}");
        }
        for text in ["", "a b", "a/b", "a,b"] {
            assert_eq!(RepositoryPattern::new(text), None, "{text:?}");
        }
    }
}
