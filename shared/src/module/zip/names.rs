//! The names of a zip, judged together: no two may meet on a file system that ignores case, and none may be both a
//! file and a directory.

use std::collections::HashMap;

use super::{ENTRIES_MAX, NAMES_BYTES_MAX, ZipError};
use crate::module::unicode::fold;

/// A tree of folded path elements. A tree and not a map of whole paths, so that a deep path costs memory in
/// proportion to its length and not to its square.
#[derive(Default)]
pub struct Names {
    children: HashMap<(u32, Box<str>), Node>,
    bytes: usize,
}

/// `id` is the parent key of its children; the root's is 0.
struct Node {
    id: u32,
    /// As first seen, before folding; empty if it equals the folded element.
    spelling: Box<str>,
    is_dir: bool,
}

/// How a name collides.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Collision {
    Case(String),
    FileAndDirectory(String),
    Duplicate,
    TooMany,
}

impl Collision {
    pub(super) fn into_zip_error(self, name: &str) -> ZipError {
        match self {
            Self::Case(path) => ZipError::entry(name, format!("case-insensitive file name collision at {path:?}")),
            Self::FileAndDirectory(path) => {
                ZipError::entry(name, format!("entry {path:?} is both a file and a directory"))
            }
            Self::Duplicate => ZipError::entry(name, "multiple entries for file"),
            Self::TooMany => {
                ZipError::TooLarge(format!("over {ENTRIES_MAX} entries or {NAMES_BYTES_MAX} bytes of names"))
            }
        }
    }
}

impl Names {
    /// Adds a valid path that is to be in a zip; the error says with what it collides.
    ///
    /// # Errors
    /// As [`super::verify_zip`] has them for the same names in a zip.
    pub fn check(&mut self, path: &str, is_dir: bool) -> Result<(), ZipError> {
        self.add(path, is_dir).map_err(|collision| collision.into_zip_error(path))
    }

    /// Adds a valid file path and the directories above it. A directory may come many times, a file once.
    pub(super) fn add(&mut self, path: &str, is_dir: bool) -> Result<(), Collision> {
        self.bytes += path.len();
        if self.bytes > NAMES_BYTES_MAX {
            return Err(Collision::TooMany);
        }
        let mut parent = 0;
        let mut end = 0;
        for element in path.split('/') {
            end += element.len();
            let last = end == path.len();
            let element_is_dir = !last || is_dir;
            let folded: Box<str> = element.chars().map(fold).collect();
            let next_id = self.children.len() as u64 + 1;
            let spelling: Box<str> = if *folded == *element { Box::default() } else { element.into() };
            let mut added = false;
            let node = self.children.entry((parent, folded)).or_insert_with(|| {
                added = true;
                let id = u32::try_from(next_id).unwrap_or(u32::MAX);
                Node { id, spelling: spelling.clone(), is_dir: element_is_dir }
            });
            if node.spelling != spelling {
                return Err(Collision::Case(path[..end].to_owned()));
            }
            if node.is_dir != element_is_dir {
                return Err(Collision::FileAndDirectory(path[..end].to_owned()));
            }
            if !element_is_dir && !added {
                return Err(Collision::Duplicate);
            }
            parent = node.id;
            end += 1;
            if self.children.len() > ENTRIES_MAX {
                return Err(Collision::TooMany);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_all(paths: &[&str]) -> Result<(), Collision> {
        let mut names = Names::default();
        paths.iter().try_for_each(|path| match path.strip_suffix('/') {
            Some(dir) => names.add(dir, true),
            None => names.add(path, false),
        })
    }

    #[test]
    fn what_may_stand_together() {
        assert_eq!(add_all(&["a/b", "a/c", "a/", "a/", "b", "A1", "é", "e"]), Ok(()));
    }

    #[test]
    fn what_may_not() {
        assert_eq!(add_all(&["a", "a"]), Err(Collision::Duplicate));
        assert_eq!(add_all(&["a", "A"]), Err(Collision::Case("A".into())));
        assert_eq!(add_all(&["É/x", "é/y"]), Err(Collision::Case("é".into())));
        assert_eq!(add_all(&["k", "\u{212A}"]), Err(Collision::Case("\u{212A}".into())));
        assert_eq!(add_all(&["a", "a/b"]), Err(Collision::FileAndDirectory("a".into())));
        assert_eq!(add_all(&["a/b", "a"]), Err(Collision::FileAndDirectory("a".into())));
        assert_eq!(add_all(&["x/a", "x/a/"]), Err(Collision::FileAndDirectory("x/a".into())));
    }

    #[test]
    fn a_deep_path_costs_its_length_and_a_flood_is_cut() {
        let mut names = Names::default();
        let mut collision = None;
        for i in 0..100 {
            let path = format!("{i}{}", "/a".repeat(32_000));
            collision = names.add(&path, false).err();
            if collision.is_some() {
                break;
            }
        }
        assert_eq!(collision, Some(Collision::TooMany));
        assert!(names.children.len() <= ENTRIES_MAX + 1);
    }
}
