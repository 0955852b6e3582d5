//! Merged lists, kept for as long as the members' lists are what they were: to read, sort and write ten thousand versions for every
//! client takes long.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use shared::digest::Digest;
use shared::module::{ModulePath, Version};

use super::super::list;

/// Lists with fewer versions are merged faster than they are worth to be kept.
const VERSIONS_MIN: usize = 64;
/// Versions kept in all lists together, some 100 bytes each; beyond that, keeping begins anew.
const VERSIONS_MAX: usize = 200_000;

/// A merged list.
#[derive(Debug)]
pub(super) struct Merged {
    /// Sorted, each once.
    pub(super) versions: Vec<Version>,
    /// The same as it is answered.
    pub(super) body: Bytes,
    /// SHA-256 of that.
    pub(super) digest: Digest,
}

/// What was merged, by module.
#[derive(Debug, Default)]
pub(in crate::repository) struct Memo(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_module: HashMap<String, (Vec<Digest>, Arc<Merged>)>,
    versions: usize,
}

impl Merged {
    pub(super) fn of(mut versions: Vec<Version>) -> Self {
        list::sort(&mut versions);
        let body = list::write(&versions);
        Self { digest: Digest::of(&body), versions, body }
    }
}

impl Memo {
    /// What the members' lists with these digests are together, if it is known.
    pub(super) fn get(&self, module: &ModulePath, members: &[Digest]) -> Option<Arc<Merged>> {
        let kept = self.0.lock();
        let (of, merged) = kept.by_module.get(module.as_str())?;
        (of == members).then(|| Arc::clone(merged))
    }

    pub(super) fn put(&self, module: &ModulePath, members: Vec<Digest>, merged: &Arc<Merged>) {
        let count = merged.versions.len();
        if !(VERSIONS_MIN..=VERSIONS_MAX).contains(&count) {
            return;
        }
        let mut kept = self.0.lock();
        if kept.versions + count > VERSIONS_MAX {
            *kept = Kept::default();
        }
        let before = kept.by_module.insert(module.as_str().to_owned(), (members, Arc::clone(merged)));
        kept.versions += count;
        kept.versions -= before.map_or(0, |(_, before)| before.versions.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_of_these_very_lists_and_bounded() {
        let memo = Memo::default();
        let module = |number: usize| ModulePath::new(&format!("example.com/m{number}")).unwrap();
        let merged = |count: usize| {
            let version = |patch| Version::new(&module(0), &format!("v1.0.{patch}")).unwrap();
            Arc::new(Merged::of((0..count).map(version).collect()))
        };
        let lists = |text: &str| vec![Digest::of(text.as_bytes())];
        memo.put(&module(0), lists("a"), &merged(10));
        assert!(memo.get(&module(0), &lists("a")).is_none(), "not worth it");
        memo.put(&module(0), lists("a"), &merged(100));
        assert_eq!(memo.get(&module(0), &lists("a")).unwrap().versions.len(), 100);
        assert!(memo.get(&module(0), &lists("b")).is_none(), "a member has another list now");
        memo.put(&module(0), lists("b"), &merged(101));
        assert!(memo.get(&module(0), &lists("a")).is_none());
        let large = merged(VERSIONS_MAX / 4);
        for number in 0..20 {
            memo.put(&module(number), lists("a"), &large);
            assert!(memo.0.lock().versions <= VERSIONS_MAX);
            assert!(memo.get(&module(number), &lists("a")).is_some());
        }
        let kept = memo.0.lock();
        assert_eq!(kept.versions, kept.by_module.values().map(|(_, merged)| merged.versions.len()).sum::<usize>());
    }
}
