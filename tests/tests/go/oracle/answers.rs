//! Our answers to the oracle's questions, in the oracle's notation.

use std::cmp::Ordering;
use std::fmt::Write as _;

use shared::module::{self, gomod, pseudo, semver};
use shared::request::{Request, SumdbPart, SumdbRequest};

use super::generate::Subject;

/// One question that both sides can answer.
pub(crate) struct Operation {
    /// Its name at the oracle.
    pub(crate) name: &'static str,
    /// How many arguments it has.
    pub(crate) arguments: usize,
    /// What its arguments are about, which decides how they are generated.
    pub(crate) subject: Subject,
    /// Whether a text that Go refuses altogether may have any answer of ours.
    pub(crate) only_where_go_accepts: bool,
    /// Our answer; `None` is the bad verdict.
    pub(crate) ask: fn(&[String]) -> Option<String>,
}

const fn of(name: &'static str, subject: Subject, ask: fn(&[String]) -> Option<String>) -> Operation {
    Operation { name, arguments: subject.arguments(), subject, only_where_go_accepts: false, ask }
}

/// All operations.
pub(crate) const OPERATIONS: &[Operation] = &[
    of("check_path", Subject::Path, |a| verdict(module::check_path(&a[0]))),
    of("check_import_path", Subject::FilePath, |a| verdict(module::check_import_path(&a[0]))),
    of("check_file_path", Subject::FilePath, |a| verdict(module::check_file_path(&a[0]))),
    of("split_path_version", Subject::Path, |a| {
        module::split_path_version(&a[0]).map(|(prefix, major)| format!("{prefix} {major}"))
    }),
    of("escape_path", Subject::Path, |a| module::escape_path(&a[0]).ok()),
    of("unescape_path", Subject::EscapedPath, |a| module::unescape_path(&a[0]).ok()),
    of("escape_version", Subject::Version, |a| module::escape_version(&a[0]).ok()),
    of("unescape_version", Subject::EscapedVersion, |a| module::unescape_version(&a[0]).ok()),
    of("canonical_version", Subject::Version, |a| filled(module::canonical_version(&a[0]))),
    of("semver_canonical", Subject::Version, |a| filled(semver::canonical(&a[0]))),
    of("semver_major", Subject::Version, |a| filled(semver::major(&a[0]))),
    of("semver_major_minor", Subject::Version, |a| filled(semver::major_minor(&a[0]))),
    of("semver_prerelease", Subject::Version, |a| filled(semver::prerelease(&a[0]))),
    of("semver_build", Subject::Version, |a| filled(semver::build(&a[0]))),
    of("semver_compare", Subject::TwoVersions, |a| match semver::compare(&a[0], &a[1]) {
        Ordering::Less => Some("-1".into()),
        Ordering::Equal => None,
        Ordering::Greater => Some("1".into()),
    }),
    of("is_pseudo", Subject::Pseudo, |a| yes(pseudo::is_pseudo_version(&a[0]))),
    of("pseudo_base", Subject::Pseudo, |a| pseudo::pseudo_version_base(&a[0]).ok()),
    of("pseudo_rev", Subject::Pseudo, |a| pseudo::pseudo_version_rev(&a[0]).ok().map(str::to_owned)),
    of("pseudo_time", Subject::Pseudo, |a| {
        pseudo::pseudo_version_time(&a[0]).ok().map(|time| time.unix_timestamp().to_string())
    }),
    of("check", Subject::PathAndVersion, |a| verdict(module::check(&a[0], &a[1]))),
    of("check_path_major", Subject::VersionAndSuffix, |a| verdict(module::check_path_major(&a[0], &a[1]))),
    of("match_prefix_patterns", Subject::GlobsAndPath, |a| yes(module::match_prefix_patterns(&a[0], &a[1]))),
    of("module_path", Subject::GoMod, |a| gomod::module_path_of(a[0].as_bytes())),
    of("tile_path", Subject::Tile, |a| tile(&a[0])),
    // Go refuses a go.mod for more than what concerns us: a bad require, a second module line.
    Operation { only_where_go_accepts: true, ..of("directives", Subject::GoMod, directives) },
];

fn verdict<T, E>(result: Result<T, E>) -> Option<String> {
    result.ok().map(|_| String::new())
}

fn yes(verdict: bool) -> Option<String> {
    verdict.then(String::new)
}

fn filled(text: impl Into<String>) -> Option<String> {
    Some(text.into()).filter(|text| !text.is_empty())
}

/// A tile is known by the request parser, below some database.
fn tile(path: &str) -> Option<String> {
    match Request::parse(&format!("sumdb/sum.example/{path}")) {
        Ok(Request::Sumdb(SumdbRequest { part: SumdbPart::Tile(tile), .. })) => yes(tile == path),
        Ok(Request::Sumdb(_) | Request::Module(_)) | Err(_) => None,
    }
}

fn directives(args: &[String]) -> Option<String> {
    let found = gomod::directives(args[0].as_bytes());
    let mut text = String::new();
    for (low, high) in found.retract {
        writeln!(text, "retract {low} {high}").ok()?;
    }
    if let Some(deprecated) = found.deprecated {
        writeln!(text, "deprecated {deprecated}").ok()?;
    }
    Some(text)
}
