//! Which files make a module: the rules of `golang.org/x/mod/zip` (`checkFiles`), in its order.

use std::collections::HashSet;

use anyhow::bail;
use shared::module::check_file_path;
use shared::module::unicode::fold;
use shared::module::zip::{GOMOD_BYTES_MAX, LICENSE_BYTES_MAX, Names, ZIP_BYTES_MAX};

use super::{Found, Kind};

/// From this version of the language on, vendored packages are told apart as they should be.
const VENDOR_MENDED: (u32, u32) = (1, 24);
/// Invalid files named in one message; more are counted.
const NAMED_MAX: usize = 10;

/// The files that make the module.
pub(super) struct Selection {
    /// Indices of the files given.
    pub(super) chosen: Vec<usize>,
    /// What does not belong, and why.
    pub(super) omitted: Vec<(String, &'static str)>,
}

/// Chooses. `language` is what the go.mod at the root says.
///
/// # Errors
/// Names every file that no module may have.
pub(super) fn select(files: &[Found], language: Option<(u32, u32)>) -> anyhow::Result<Selection> {
    let nested: HashSet<&str> = files.iter().filter(|found| found.kind == Kind::Regular).filter_map(nested).collect();
    let mut names = Names::default();
    let mut total = 0_u64;
    let mut wrong = Vec::new();
    let mut selection = Selection { chosen: Vec::new(), omitted: Vec::new() };
    for (index, found) in files.iter().enumerate() {
        match judge(found, language, &nested, &mut names) {
            Ok(None) => {
                total = total.saturating_add(found.size);
                selection.chosen.push(index);
            }
            Ok(Some(reason)) => selection.omitted.push((found.name.clone(), reason)),
            Err(reason) => wrong.push(format!("{}: {reason}", found.name)),
        }
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(NAMED_MAX);
        wrong.truncate(NAMED_MAX);
        let rest = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        bail!("no module may have these files:\n  {}{rest}", wrong.join("\n  "));
    }
    if total > ZIP_BYTES_MAX {
        bail!("the module is too large: {total} bytes, at most {ZIP_BYTES_MAX}");
    }
    Ok(selection)
}

/// None: it belongs. A reason: it does not. An error: no module may have it.
fn judge(
    found: &Found,
    language: Option<(u32, u32)>,
    nested: &HashSet<&str>,
    names: &mut Names,
) -> Result<Option<&'static str>, String> {
    let name = found.name.as_str();
    if is_vendored(name, language) {
        return Ok(Some("in a vendor directory"));
    }
    if directories(name).any(|dir| nested.contains(dir)) {
        return Ok(Some("in another module"));
    }
    if name == ".hg_archival.txt" {
        return Ok(Some("inserted by hg archive"));
    }
    check_file_path(name).map_err(|error| error.reason().to_owned())?;
    if equal_folded(name, "go.mod") && name != "go.mod" {
        return Err("go.mod files must have lowercase names".to_owned());
    }
    names.check(name, false).map_err(|error| error.to_string())?;
    match found.kind {
        Kind::Symlink => return Ok(Some("a symbolic link")),
        Kind::Other => return Ok(Some("not a regular file")),
        Kind::Regular => {}
    }
    let limit = match name {
        "go.mod" => GOMOD_BYTES_MAX,
        "LICENSE" => LICENSE_BYTES_MAX,
        _ => ZIP_BYTES_MAX,
    };
    if found.size > limit {
        return Err(format!("{} bytes, at most {limit}", found.size));
    }
    Ok(None)
}

/// Whether a file is of a package below a `vendor` directory. Modules in an older language keep the mistake that their
/// hashes were made with (`isVendoredPackage`).
pub(super) fn is_vendored(name: &str, language: Option<(u32, u32)>) -> bool {
    const INNER: &str = "/vendor/";
    let mended = language.is_some_and(|language| language >= VENDOR_MENDED);
    if mended && name == "vendor/modules.txt" {
        return true;
    }
    let from = if name.starts_with("vendor/") {
        "vendor/".len()
    } else if let Some(at) = name.find(INNER) {
        if mended { at + INNER.len() } else { INNER.len() }
    } else {
        return false;
    };
    name.as_bytes().iter().skip(from).any(|&byte| byte == b'/')
}

/// The folder of a go.mod, in any spelling, other than the root's.
fn nested(found: &Found) -> Option<&str> {
    let (dir, base) = found.name.rsplit_once('/')?;
    equal_folded(base, "go.mod").then_some(dir)
}

/// The folders above a file.
fn directories(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

fn equal_folded(text: &str, folded: &str) -> bool {
    text.chars().map(fold).eq(folded.chars())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Content;

    fn found(name: &str, kind: Kind, size: u64) -> Found {
        Found { name: name.to_owned(), kind, size, content: Content::Memory(bytes::Bytes::new()) }
    }

    fn chosen(files: &[Found]) -> Vec<String> {
        let selection = select(files, Some((1, 25))).unwrap();
        selection.chosen.iter().map(|&index| files[index].name.clone()).collect()
    }

    #[test]
    fn what_belongs_and_what_does_not() {
        let names =
            ["go.mod", "a.go", "sub/GO.MOD", "sub/x/y.go", "vendor/modules.txt", "vendor/a/b.go", "in/vendor/v.go"];
        let mut files: Vec<_> = names.iter().map(|name| found(name, Kind::Regular, 1)).collect();
        files.push(found("link", Kind::Symlink, 1));
        files.push(found("pipe", Kind::Other, 1));
        files.push(found("linked/go.mod", Kind::Symlink, 1));
        files.push(found("linked/a.go", Kind::Regular, 1));
        assert_eq!(chosen(&files), ["go.mod", "a.go", "in/vendor/v.go", "linked/a.go"]);
    }

    #[test]
    fn what_no_module_may_have() {
        for files in [
            vec![found("GO.mod", Kind::Regular, 1)],
            vec![found("a", Kind::Regular, 1), found("A", Kind::Regular, 1)],
            vec![found("a", Kind::Regular, 1), found("A", Kind::Symlink, 1)],
            vec![found("con.txt", Kind::Regular, 1), found("aux", Kind::Regular, 1)],
            vec![found("a*b", Kind::Regular, 1)],
            vec![found("go.mod", Kind::Regular, GOMOD_BYTES_MAX + 1)],
            vec![found("a", Kind::Regular, ZIP_BYTES_MAX), found("b", Kind::Regular, 1)],
        ] {
            assert!(select(&files, None).is_err(), "{:?}", files.iter().map(|f| &f.name).collect::<Vec<_>>());
        }
    }

    #[test]
    fn vendoring_by_language() {
        for (name, old, new) in [
            ("vendor/modules.txt", false, true),
            ("vendor/a.go", false, false),
            ("vendor/a/b.go", true, true),
            ("pkg/vendor/vendor.go", true, false),
            ("p/vendor/x.go", true, false),
            ("pkg/vendor/foo/foo.go", true, true),
            ("notvendor/a/b.go", false, false),
        ] {
            assert_eq!(is_vendored(name, Some((1, 23))), old, "{name}");
            assert_eq!(is_vendored(name, None), old, "{name}");
            assert_eq!(is_vendored(name, Some((1, 24))), new, "{name}");
        }
    }
}
