//! Semantic versions with a leading `v`, as `golang.org/x/mod/semver`.
//!
//! `vMAJOR[.MINOR[.PATCH[-PRERELEASE][+BUILD]]]`; numbers have no leading zero and any length, which is why they are
//! compared as text.

use std::cmp::Ordering;

/// A valid version taken apart. `short` is what the canonical form appends (`.0.0`, `.0` or nothing).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parsed<'a> {
    pub(crate) major: &'a str,
    pub(crate) minor: &'a str,
    pub(crate) patch: &'a str,
    short: &'static str,
    /// With its leading `-`, or empty.
    pub(crate) prerelease: &'a str,
    /// With its leading `+`, or empty.
    build: &'a str,
}

/// Whether `v` is a valid semantic version.
pub fn is_valid(v: &str) -> bool {
    parse(v).is_some()
}

/// `v` with missing parts filled in and build metadata dropped; empty if `v` is invalid.
pub fn canonical(v: &str) -> String {
    let Some(p) = parse(v) else { return String::new() };
    format!("{}{}", &v[..v.len() - p.build.len()], p.short)
}

/// `v2` of `v2.1.0`; empty if `v` is invalid.
pub fn major(v: &str) -> &str {
    parse(v).map_or("", |p| &v[..=p.major.len()])
}

/// `v2.1` of `v2.1.0`, `v2.0` of `v2`; empty if `v` is invalid.
pub fn major_minor(v: &str) -> String {
    parse(v).map_or_else(String::new, |p| format!("v{}.{}", p.major, p.minor))
}

/// `-pre` of `v2.1.0-pre+meta`; empty if there is none or `v` is invalid.
pub fn prerelease(v: &str) -> &str {
    parse(v).map_or("", |p| p.prerelease)
}

/// `+meta` of `v2.1.0-pre+meta`; empty if there is none or `v` is invalid.
pub fn build(v: &str) -> &str {
    parse(v).map_or("", |p| p.build)
}

/// Semantic version precedence. Build metadata is ignored; an invalid version is less than any valid one, and equal
/// to any other invalid one.
pub fn compare(v: &str, w: &str) -> Ordering {
    match (parse(v), parse(w)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(p), Some(q)) => compare_number(p.major, q.major)
            .then_with(|| compare_number(p.minor, q.minor))
            .then_with(|| compare_number(p.patch, q.patch))
            .then_with(|| compare_prerelease(p.prerelease, q.prerelease)),
    }
}

/// Takes a version apart; `None` if it is invalid.
pub(crate) fn parse(v: &str) -> Option<Parsed<'_>> {
    let (major, rest) = take_number(v.strip_prefix('v')?)?;
    let shortened = |minor, short| Parsed { major, minor, patch: "0", short, prerelease: "", build: "" };
    if rest.is_empty() {
        return Some(shortened("0", ".0.0"));
    }
    let (minor, rest) = take_number(rest.strip_prefix('.')?)?;
    if rest.is_empty() {
        return Some(shortened(minor, ".0"));
    }
    let (patch, rest) = take_number(rest.strip_prefix('.')?)?;
    let (prerelease, build) = rest.split_at(rest.find('+').unwrap_or(rest.len()));
    let prerelease_ok = prerelease.is_empty()
        || prerelease
            .strip_prefix('-')
            .is_some_and(|text| text.split('.').all(|part| is_identifier(part) && !has_leading_zero(part)));
    let build_ok = build.is_empty() || build.strip_prefix('+').is_some_and(|text| text.split('.').all(is_identifier));
    (prerelease_ok && build_ok).then_some(Parsed { major, minor, patch, short: "", prerelease, build })
}

/// The leading decimal number without a leading zero, and what follows it.
fn take_number(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (!number.is_empty() && (number.len() == 1 || !number.starts_with('0'))).then_some((number, rest))
}

fn is_identifier(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_digit())
}

fn has_leading_zero(part: &str) -> bool {
    part.len() > 1 && part.starts_with('0') && is_number(part)
}

fn compare_number(x: &str, y: &str) -> Ordering {
    x.len().cmp(&y.len()).then_with(|| x.cmp(y))
}

fn compare_prerelease(x: &str, y: &str) -> Ordering {
    match (x.is_empty(), y.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut xs, mut ys) = (x[1..].split('.'), y[1..].split('.'));
    loop {
        let (a, b) = match (xs.next(), ys.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => (a, b),
        };
        let order = match (is_number(a), is_number(b)) {
            (true, true) => compare_number(a, b),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_that_of_the_specification() {
        let ascending = [
            "bad",
            "v0.0.0-0",
            "v0.1.0",
            "v1.0.0-alpha",
            "v1.0.0-alpha.1",
            "v1.0.0-alpha.beta",
            "v1.0.0-beta",
            "v1.0.0-beta.2",
            "v1.0.0-beta.11",
            "v1.0.0-rc.1",
            "v1.0.0",
            "v1.2.0",
            "v1.10.0",
            "v2",
            "v99999999999999999999999.0.0",
        ];
        for (i, v) in ascending.iter().enumerate() {
            for (j, w) in ascending.iter().enumerate() {
                assert_eq!(compare(v, w), i.cmp(&j), "{v} {w}");
            }
        }
        assert_eq!(compare("v1.0.0+a", "v1.0.0+b"), Ordering::Equal);
    }

    #[test]
    fn invalid_versions() {
        for v in [
            "",
            "1.0.0",
            "v",
            "v1.",
            "v01.0.0",
            "v1.0.0-",
            "v1.0.0-01",
            "v1.0.0+",
            "v1.0-pre",
            "v1.0.0-a..b",
            "v1.0.0 ",
            "v1.0.0x",
            "v1.0.0+a+b",
            "V1.0.0",
        ] {
            assert!(!is_valid(v), "{v}");
            assert_eq!(canonical(v), "");
        }
    }

    #[test]
    fn parts() {
        assert_eq!(canonical("v1"), "v1.0.0");
        assert_eq!(canonical("v1.2"), "v1.2.0");
        assert_eq!(canonical("v1.2.3-pre+meta"), "v1.2.3-pre");
        assert_eq!(major("v2.1.0"), "v2");
        assert_eq!(major_minor("v2"), "v2.0");
        assert_eq!(major_minor("v2.1.0-x"), "v2.1");
        assert_eq!(prerelease("v2.1.0-pre+meta"), "-pre");
        assert_eq!(build("v2.1.0-pre+meta-x"), "+meta-x");
        assert_eq!(prerelease("v2.1.0+meta-x"), "");
    }
}
