//! What stands on the disk: every stored body is named by its SHA-256 and must hash to it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Hashes every file below `root` that is named by a SHA-256 and returns how many there were.
///
/// # Panics
/// When one does not hash to its name.
pub fn verify(root: &Path) -> usize {
    let mut right = 0;
    for (path, name) in bodies(root) {
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            // A living server removed it after it was listed here: it is absent, which is allowed.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let found = hex::encode(Sha256::digest(&content));
        assert_eq!(found, name, "{} ({} bytes) does not hash to its name", path.display(), content.len());
        right += 1;
    }
    right
}

/// Every file below `root` named by a SHA-256, alone or together with its folders (`ab/cd…`), and that SHA-256.
pub fn bodies(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        // A folder may vanish while a living server tidies up.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = name_of(root, &path) {
                found.push((path, name));
            }
        }
    }
    found
}

/// The last path elements that together are 64 hexadecimal digits.
fn name_of(root: &Path, path: &Path) -> Option<String> {
    let mut name = String::new();
    for part in path.strip_prefix(root).ok()?.iter().rev() {
        let part = part.to_str()?;
        if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) || name.len() + part.len() > 64 {
            return None;
        }
        name = format!("{part}{name}");
        if name.len() == 64 {
            return Some(name);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_body_is_found_in_either_layout() {
        let folder = tempfile::tempdir().unwrap();
        let right = hex::encode(Sha256::digest(b"right"));
        std::fs::create_dir_all(folder.path().join(&right[..2])).unwrap();
        std::fs::write(folder.path().join(&right[..2]).join(&right[2..]), b"right").unwrap();
        std::fs::write(folder.path().join("README"), b"not a body").unwrap();
        assert_eq!(verify(folder.path()), 1);
        std::fs::write(folder.path().join(&right), b"wrong").unwrap();
        assert!(std::panic::catch_unwind(|| verify(folder.path())).is_err());
    }
}
