//! The manifest's lines, as center and edge divide them.
//!
//! A line is `<kind> <module> <version> <sha256>`. A module's bucket is the first byte of the SHA-256 of its path, its part within
//! the bucket the second one. The digest of a part is that of its lines, so a part tells of a change among the thousands of lines of a
//! large center's bucket.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::{Digest, Hasher};

/// Where a module's lines are: its bucket, and the part of it.
pub fn place_of(module: &str) -> (u8, u8) {
    let digest = Digest::of(module.as_bytes());
    (digest.as_bytes()[0], digest.as_bytes()[1])
}

/// The digests of the parts that a bucket's lines have.
pub fn parts(lines: &str) -> BTreeMap<u8, Digest> {
    let mut hashers: BTreeMap<u8, Hasher> = BTreeMap::new();
    for (part, line) in divided(lines) {
        hashers.entry(part).or_default().update(line.as_bytes());
    }
    hashers.into_iter().map(|(part, hasher)| (part, hasher.digest())).collect()
}

/// The lines of some parts of a bucket.
pub fn only(lines: &str, wanted: &BTreeSet<u8>) -> String {
    divided(lines).filter(|(part, _)| wanted.contains(part)).map(|(_, line)| line).collect()
}

/// Each line with its part; what is no line has none.
fn divided(lines: &str) -> impl Iterator<Item = (u8, &str)> {
    let mut last = None;
    lines.split_inclusive('\n').filter_map(move |line| {
        let module = line.split(' ').nth(1)?;
        // Lines of one module stand together.
        let part = match last {
            Some((same, part)) if same == module => part,
            _ => place_of(module).1,
        };
        last = Some((module, part));
        Some((part, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_the_sum_of_its_parts() {
        let modules = ["a.example/x", "b.example/y", "c.example/z"];
        let line = |kind: &str, module: &str| format!("{kind} {module} v1.0.0 {}\n", "0".repeat(64));
        let lines: String =
            ["info", "mod"].iter().flat_map(|kind| modules.iter().map(|module| line(kind, module))).collect();
        let digests = parts(&lines);
        for module in modules {
            let own = line("info", module) + &line("mod", module);
            let part = place_of(module).1;
            assert_eq!(only(&lines, &[part].into()), own);
            assert_eq!(digests[&part], Digest::of(own.as_bytes()));
        }
        assert_eq!(digests.len(), modules.len());
        assert_eq!(only(&lines, &digests.keys().copied().collect()), lines);
        assert!(parts("").is_empty() && parts("short\n").is_empty());
    }
}
