//! What a proxy needs to know of a `go.mod`: whose it is, what it retracts, whether it is deprecated, and what a build of it loads.

mod file;
mod lexer;
mod unquote;

use super::path::{ModulePath, split_path_version};
use super::version::{canonical_version, check_path_major};
pub use file::{ModFile, Named, Replace, file};
use lexer::{Block, Line, Statement};
use unquote::unquote;

/// The directives by which a module's newest version speaks about its others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// Closed intervals of retracted versions, as written; a single version is its own interval.
    pub retract: Vec<(String, String)>,
    /// The text after `Deprecated:` in the comment on the module directive.
    pub deprecated: Option<String>,
}

/// The `go.mod` of a module whose zip has none, as the `go` command makes it.
pub fn synthesized(path: &ModulePath) -> String {
    format!("module {path}\n")
}

/// The path in the first usable `module` line (`modfile.ModulePath`). It need not be a valid module path.
pub fn module_path_of(gomod: &[u8]) -> Option<String> {
    // U+FFFD is no more a space, quote or slash than the bytes that it replaces.
    let text = String::from_utf8_lossy(gomod);
    for line in text.split('\n') {
        let line = line.split("//").next().unwrap_or(line).trim();
        let Some(rest) = line.strip_prefix("module") else { continue };
        let path = rest.trim_start();
        if path.is_empty() || path.len() == rest.len() {
            continue;
        }
        let path = if path.starts_with(['"', '`']) { unquote(path)? } else { path.to_owned() };
        return (!path.is_empty()).then_some(path);
    }
    None
}

/// Reads the retractions and the deprecation, as `modfile.ParseLax` does for a dependency. Of a file that is not
/// even lexically a go.mod there is nothing to say: the result is empty.
pub fn directives(gomod: &[u8]) -> Directives {
    let Some(statements) = lexer::parse(&String::from_utf8_lossy(gomod)) else { return Directives::default() };
    let mut found = Directives::default();
    let mut module_seen = false;
    let mut visit = |block: Option<&Block>, verb: &str, arguments: &[String], line: &Line| match verb {
        "module" if !module_seen => {
            module_seen = true;
            found.deprecated = deprecation(&comment_of(block, line));
        }
        "retract" => found.retract.extend(interval(arguments)),
        _ => {}
    };
    for statement in &statements {
        match statement {
            Statement::Line(line) => {
                if let Some((verb, arguments)) = line.tokens.split_first() {
                    visit(None, verb, arguments, line);
                }
            }
            Statement::Block(block) => {
                if let [verb] = block.tokens.as_slice() {
                    block.lines.iter().for_each(|line| visit(Some(block), verb, &line.tokens, line));
                }
            }
        }
    }
    found
}

/// The paths of the modules that a `go.mod` requires, indirectly too. Of a file that is not even lexically a go.mod there
/// are none.
pub fn requirements(gomod: &[u8]) -> Vec<String> {
    let Some(statements) = lexer::parse(&String::from_utf8_lossy(gomod)) else { return Vec::new() };
    let mut found = Vec::new();
    let mut visit = |arguments: &[String]| {
        if let [path, _] = arguments {
            found.extend(if path.starts_with(['"', '`']) { unquote(path) } else { Some(path.clone()) });
        }
    };
    for statement in &statements {
        match statement {
            Statement::Line(line) => match line.tokens.split_first() {
                Some((verb, arguments)) if verb == "require" => visit(arguments),
                _ => {}
            },
            Statement::Block(block) if block.tokens == ["require"] => {
                block.lines.iter().for_each(|line| visit(&line.tokens));
            }
            Statement::Block(_) => {}
        }
    }
    found
}

/// The language version of the `go` directive as (major, minor), as `modfile.ParseLax` finds it.
///
/// # Errors
/// The reason why `ParseLax` refuses the file. For Go such a file has no version; who publishes should rather mend it.
pub fn language(gomod: &[u8]) -> Result<Option<(u32, u32)>, String> {
    let statements = lexer::parse(&String::from_utf8_lossy(gomod)).ok_or("not even lexically a go.mod")?;
    let mut found = None;
    let mut module_seen = false;
    let mut visit = |verb: &str, arguments: &[String]| -> Result<(), String> {
        match verb {
            "go" if found.is_some() => return Err("repeated go directive".to_owned()),
            "go" => {
                let [version] = arguments else { return Err("go directive expects exactly one argument".to_owned()) };
                found = Some(language_of(version).ok_or_else(|| format!("invalid go version {version:?}"))?);
            }
            "module" if module_seen => return Err("repeated module directive".to_owned()),
            "module" => module_seen = true,
            "require" => check_requirement(arguments)?,
            _ => {}
        }
        Ok(())
    };
    for statement in &statements {
        match statement {
            Statement::Line(line) => {
                if let Some((verb, arguments)) = line.tokens.split_first() {
                    visit(verb, arguments)?;
                }
            }
            Statement::Block(block) => {
                if let [verb] = block.tokens.as_slice() {
                    block.lines.iter().try_for_each(|line| visit(verb, &line.tokens))?;
                }
            }
        }
    }
    Ok(found)
}

/// `1.24`, `1.24.1`, `1.24rc1`; of a dependency also what only begins so.
fn language_of(version: &str) -> Option<(u32, u32)> {
    let bare = version.strip_prefix('v').unwrap_or(version);
    let (major, rest) = bare.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let is_number =
        |text: &str| text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    let is_mended = bare.len() < version.len() && end == rest.len();
    if !is_number(&rest[..end]) || major == "0" || !is_number(major) || is_mended {
        return None;
    }
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}

/// A requirement is a path and a version that fits it.
fn check_requirement(arguments: &[String]) -> Result<(), String> {
    let [path, version] = arguments else { return Err("a requirement is a module path and a version".to_owned()) };
    let plain = |token: &str| {
        if token.starts_with(['"', '`']) { unquote(token) } else { Some(token.to_owned()) }
    };
    let (Some(path), Some(version)) = (plain(path), plain(version)) else {
        return Err(format!("require {path}: malformed string"));
    };
    let canonical = canonical_version(&version);
    if canonical.is_empty() {
        return Err(format!("require {path}: version {version:?} must be of the form v1.2.3"));
    }
    let (_, major) = split_path_version(&path).ok_or_else(|| format!("require {path}: invalid module path"))?;
    check_path_major(&canonical, major).map_err(|error| format!("require {path}: {error}"))
}

/// The comment on a directive; a line without one inside a block has the block's.
fn comment_of(block: Option<&Block>, line: &Line) -> String {
    let own = || line.before.iter().chain(&line.suffix);
    let comments = match block {
        Some(block) if own().next().is_none() => block.before.iter().chain(&[]),
        _ => own(),
    };
    let text = |comment: &String| comment.strip_prefix("//").map(|text| text.trim().to_owned());
    comments.filter_map(text).collect::<Vec<_>>().join("\n")
}

/// The first paragraph that begins with `Deprecated:`.
fn deprecation(comment: &str) -> Option<String> {
    let mut from = 0;
    let text = loop {
        let at = from + comment[from..].find("Deprecated:")?;
        if at == 0 || comment[..at].ends_with("\n\n") {
            break comment[at + "Deprecated:".len()..].trim_start_matches(' ');
        }
        from = at + 1;
    };
    let text = text.split("\n\n").next().unwrap_or(text);
    (!text.is_empty()).then(|| text.to_owned())
}

/// `v1.0.0` or `[v1.0.0, v1.2.0]`; what follows is ignored, as for a dependency.
fn interval(arguments: &[String]) -> Option<(String, String)> {
    let version = |token: &String| {
        if token.starts_with('"') { unquote(token) } else { (!token.contains(['"', '\'', '`'])).then(|| token.clone()) }
    };
    match arguments {
        [open, low, comma, high, close, ..] if open == "[" => {
            (comma == "," && close == "]").then_some(())?;
            Some((version(low)?, version(high)?))
        }
        [open, ..] if open == "[" || open == "(" => None,
        [single, ..] => version(single).map(|v| (v.clone(), v)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_paths() {
        for (text, path) in [
            ("module example.com/a\n", Some("example.com/a")),
            ("// module no\n\n  module   example.com/a // why\ngo 1.20", Some("example.com/a")),
            ("module \"example.com/a\\x41\"", Some("example.com/aA")),
            ("module `example.com/raw`", Some("example.com/raw")),
            ("modulex y\nmodule\nmodule z", Some("z")),
            ("module \"open", None),
            ("module \"\"", None),
            ("go 1.20\n", None),
            ("", None),
        ] {
            assert_eq!(module_path_of(text.as_bytes()).as_deref(), path, "{text:?}");
        }
    }

    #[test]
    fn retractions_and_deprecation() {
        let text = "// Deprecated: use example.com/b instead\n// soon.\n//\n// More.\nmodule example.com/a\n\n\
                    retract v1.0.0 // broken\nretract (\n\t[v1.1.0, v1.2.0]\n\t\"v1.3.0\" // why\n)\n";
        let found = directives(text.as_bytes());
        assert_eq!(found.deprecated.as_deref(), Some("use example.com/b instead\nsoon."));
        let pair = |low: &str, high: &str| (low.to_owned(), high.to_owned());
        assert_eq!(found.retract, [pair("v1.0.0", "v1.0.0"), pair("v1.1.0", "v1.2.0"), pair("v1.3.0", "v1.3.0")]);
    }

    #[test]
    fn suffix_comments_deprecate_too() {
        let found = directives(b"module example.com/a // Deprecated: gone\n");
        assert_eq!(found.deprecated.as_deref(), Some("gone"));
        assert_eq!(directives(b"module example.com/a // not Deprecated: gone\n").deprecated, None);
    }

    #[test]
    fn what_is_required() {
        let text = "module a.b\nrequire x.y v1.0.0 // indirect\nrequire (\n\t\"q.r\" v1.2.3\n\ts.t/v2 v2.0.0\n)\n                    replace u.v => ../w\n";
        assert_eq!(requirements(text.as_bytes()), ["x.y", "q.r", "s.t/v2"]);
        assert_eq!(requirements(b"require (\n"), Vec::<String>::new());
    }

    #[test]
    fn the_language_version() {
        for (text, language) in [
            ("module a.b\ngo 1.24\n", Ok(Some((1, 24)))),
            ("module a.b\ngo 1.24.3 // why\n", Ok(Some((1, 24)))),
            ("module a.b\ngo 1.25rc1\n", Ok(Some((1, 25)))),
            ("module a.b\n", Ok(None)),
            ("go 1.21\ngo 1.22\n", Err(())),
            ("go one\n", Err(())),
            ("go v1.24\n", Err(())),
            ("go v1.24x\n", Ok(Some((1, 24)))),
            ("go 1.20\nrequire a.b v1\nrequire a.b/v2 v1.0.0\n", Err(())),
            ("go 1.20\nrequire (\n\ta.b v1.2.3 // indirect\n\ta.b/v2 v2.0.0\n)\n", Ok(Some((1, 20)))),
            ("/* */", Err(())),
        ] {
            assert_eq!(super::language(text.as_bytes()).map_err(|_| ()), language, "{text:?}");
        }
    }

    #[test]
    fn nonsense_says_nothing() {
        assert_eq!(directives(b"module a\nretract (\nv1.0.0\n"), Directives::default());
        assert_eq!(directives(b"/* c */ retract v1.0.0"), Directives::default());
    }
}
