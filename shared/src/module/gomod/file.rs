//! A `go.mod` or `go.work` as far as it decides which versions a build loads.

use super::language_of;
use super::lexer::{self, Statement};
use super::unquote::unquote;

/// A module and a version, as written. Neither need be valid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Named {
    /// The module's path.
    pub path: String,
    /// The version.
    pub version: String,
}

/// A `replace` directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replace {
    /// What is replaced.
    pub path: String,
    /// Only this version of it; without one, every version.
    pub version: Option<String>,
    /// The module that takes its place or, without a version, a folder.
    pub with: String,
    /// The version that takes its place.
    pub with_version: Option<String>,
}

/// What such a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModFile {
    /// The path in the module line.
    pub module: Option<String>,
    /// The argument of the `go` line.
    pub go: Option<String>,
    /// The argument of the `toolchain` line.
    pub toolchain: Option<String>,
    /// The `require` directives, indirect ones too.
    pub require: Vec<Named>,
    /// The `exclude` directives.
    pub exclude: Vec<Named>,
    /// The `replace` directives.
    pub replace: Vec<Replace>,
    /// The folders of a `go.work`'s `use` directives.
    pub uses: Vec<String>,
}

impl ModFile {
    /// Whether the graph below this module is pruned: its `go` line says 1.17 or later.
    pub fn is_pruned(&self) -> bool {
        self.go.as_deref().and_then(language_of).is_some_and(|language| language >= (1, 17))
    }

    fn take(&mut self, verb: &str, arguments: &[String]) -> Option<()> {
        let plain = |token: &String| {
            if token.starts_with(['"', '`']) { unquote(token) } else { Some(token.clone()) }
        };
        let arguments: Vec<String> = arguments.iter().map(plain).collect::<Option<_>>()?;
        match (verb, arguments.as_slice()) {
            ("module", [path]) => self.module = Some(path.clone()),
            ("go", [version]) => self.go = Some(version.clone()),
            ("toolchain", [name]) => self.toolchain = Some(name.clone()),
            ("require", [path, version]) => {
                self.require.push(Named { path: path.clone(), version: version.clone() });
            }
            ("exclude", [path, version]) => {
                self.exclude.push(Named { path: path.clone(), version: version.clone() });
            }
            ("use", [folder]) => self.uses.push(folder.clone()),
            ("replace", arguments) => self.replace.push(replacement(arguments)?),
            // What the directive is about decides nothing here, or nobody knows it yet.
            _ => {}
        }
        Some(())
    }
}

fn replacement(arguments: &[String]) -> Option<Replace> {
    let arrow = arguments.iter().position(|token| token == "=>")?;
    let (path, version) = match &arguments[..arrow] {
        [path] => (path.clone(), None),
        [path, version] => (path.clone(), Some(version.clone())),
        _ => return None,
    };
    let (with, with_version) = match &arguments[arrow + 1..] {
        [folder] => (folder.clone(), None),
        [path, version] => (path.clone(), Some(version.clone())),
        _ => return None,
    };
    Some(Replace { path, version, with, with_version })
}

/// Reads one; `None` if it breaks the lexical rules or a directive is malformed.
pub fn file(text: &[u8]) -> Option<ModFile> {
    let mut found = ModFile::default();
    for statement in lexer::parse(&String::from_utf8_lossy(text))? {
        match statement {
            Statement::Line(line) => {
                if let Some((verb, arguments)) = line.tokens.split_first() {
                    found.take(verb, arguments)?;
                }
            }
            Statement::Block(block) => {
                if let [verb] = block.tokens.as_slice() {
                    block.lines.iter().try_for_each(|line| found.take(verb, &line.tokens))?;
                }
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, version: &str) -> Named {
        Named { path: path.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn what_decides_a_build() {
        let text = "module \"a.b/c\"\ngo 1.24.0\ntoolchain go1.25.1\nrequire x.y v1.0.0 // indirect\nrequire (\n\tq.r v1.2.3\n)\n\
                    exclude q.r v1.2.4\nreplace (\n\tx.y v1.0.0 => ../local\n\tq.r => z.z/w v0.1.0\n)\nretract v1.0.0\ntool x.y/cmd\n";
        let found = file(text.as_bytes()).unwrap();
        assert_eq!(found.module.as_deref(), Some("a.b/c"));
        assert_eq!((found.go.as_deref(), found.toolchain.as_deref()), (Some("1.24.0"), Some("go1.25.1")));
        assert_eq!(found.require, [named("x.y", "v1.0.0"), named("q.r", "v1.2.3")]);
        assert_eq!(found.exclude, [named("q.r", "v1.2.4")]);
        let [local, remote] = found.replace.as_slice() else { panic!("{found:?}") };
        assert_eq!((local.version.as_deref(), local.with.as_str()), (Some("v1.0.0"), "../local"));
        assert_eq!((remote.version.as_deref(), remote.with_version.as_deref()), (None, Some("v0.1.0")));
        assert!(found.is_pruned());
    }

    #[test]
    fn a_workspace() {
        let found = file(b"go 1.16\nuse ./a\nuse (\n\t./b\n\t\"./c d\"\n)\n").unwrap();
        assert_eq!(found.uses, ["./a", "./b", "./c d"]);
        assert!(!found.is_pruned() && !file(b"module a.b\n").unwrap().is_pruned());
    }

    #[test]
    fn what_is_no_such_file() {
        for wrong in ["require (\n", "replace a.b c.d v1\n", "replace => x\n", "module \"open\n"] {
            assert_eq!(file(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
