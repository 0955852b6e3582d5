//! What a proxy needs to know of a `go.mod`: whose it is, what it retracts, whether it is deprecated.

mod lexer;
mod unquote;

use super::path::ModulePath;
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
    fn nonsense_says_nothing() {
        assert_eq!(directives(b"module a\nretract (\nv1.0.0\n"), Directives::default());
        assert_eq!(directives(b"/* c */ retract v1.0.0"), Directives::default());
    }
}
