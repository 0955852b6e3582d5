//! Pseudo-versions: versions that name an untagged commit by its time and hash (`module.IsPseudoVersion` and kin).
//!
//! Three shapes, each optionally with build metadata:
//! `vX.0.0-yyyymmddhhmmss-rev` (no earlier tag), `vX.Y.Z-0.yyyymmddhhmmss-rev` (after vX.Y.(Z-1)),
//! `vX.Y.Z-pre.0.yyyymmddhhmmss-rev` (after vX.Y.Z-pre).

use time::{Date, Month, OffsetDateTime, Time};

use super::semver;
use super::version::VersionError;

/// Digits in `yyyymmddhhmmss`.
const TIMESTAMP_DIGITS: usize = 14;

/// The parts of a pseudo-version; `base` still carries the `0` that marks it (`v1.2.3-0`, `v1.2.3-pre.0`).
struct Parts<'a> {
    base: &'a str,
    timestamp: &'a str,
    rev: &'a str,
    build: &'a str,
}

/// Whether `v` is a pseudo-version. Its time need not exist.
pub fn is_pseudo_version(v: &str) -> bool {
    parse(v).is_some()
}

/// The tagged version before the commit; empty if there is none.
pub fn pseudo_version_base(v: &str) -> Result<String, VersionError> {
    let Parts { base, build, .. } = parse(v).ok_or_else(|| syntax(v))?;
    match semver::prerelease(base) {
        "" if build.is_empty() => Ok(String::new()),
        "" => Err(refused(v, format!("lacks base version, but has build metadata {build:?}"))),
        "-0" => {
            let release = base.strip_suffix("-0").unwrap_or(base);
            let (minor, patch) = release.rsplit_once('.').ok_or_else(|| syntax(v))?;
            let patch = decrement(patch)
                .ok_or_else(|| refused(v, format!("version before {release} would have negative patch number")))?;
            Ok(format!("{minor}.{patch}{build}"))
        }
        _ => Ok(format!("{}{build}", base.strip_suffix(".0").unwrap_or(base))),
    }
}

/// The commit's time in UTC; refused if there is no such time.
pub fn pseudo_version_time(v: &str) -> Result<OffsetDateTime, VersionError> {
    let Parts { timestamp, .. } = parse(v).ok_or_else(|| syntax(v))?;
    read_time(timestamp).ok_or_else(|| refused(v, format!("malformed time {timestamp:?}")))
}

/// The revision identifier, usually the first 12 digits of a commit hash.
pub fn pseudo_version_rev(v: &str) -> Result<&str, VersionError> {
    parse(v).map(|parts| parts.rev).ok_or_else(|| syntax(v))
}

fn parse(v: &str) -> Option<Parts<'_>> {
    let version = semver::parse(v)?;
    let (head, rev) = version.prerelease.strip_prefix('-')?.rsplit_once('-')?;
    if rev.is_empty() || !rev.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let (marker, timestamp) = head.split_at_checked(head.len().checked_sub(TIMESTAMP_DIGITS)?)?;
    if !timestamp.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let untagged = marker.is_empty() && version.minor == "0" && version.patch == "0";
    let tagged = marker == "0." || marker.ends_with(".0.");
    if !untagged && !tagged {
        return None;
    }
    let build = semver::build(v);
    // What follows the base: one separator, the time, `-`, the revision, the build metadata.
    let base = &v[..v.len() - build.len() - rev.len() - 1 - TIMESTAMP_DIGITS - 1];
    Some(Parts { base, timestamp, rev, build })
}

/// `decimal` less one, without a leading zero; `None` below zero.
fn decrement(decimal: &str) -> Option<String> {
    let mut digits = decimal.as_bytes().to_vec();
    let last = digits.iter().rposition(|&d| d != b'0')?;
    digits[last] -= 1;
    digits[last + 1..].fill(b'9');
    if digits.len() > 1 && digits[0] == b'0' {
        digits.remove(0);
    }
    String::from_utf8(digits).ok()
}

fn read_time(timestamp: &str) -> Option<OffsetDateTime> {
    let part = |from: usize, to: usize| timestamp.get(from..to)?.parse::<u8>().ok();
    let year = timestamp.get(..4)?.parse::<i32>().ok()?;
    let date = Date::from_calendar_date(year, Month::try_from(part(4, 6)?).ok()?, part(6, 8)?).ok()?;
    let time = Time::from_hms(part(8, 10)?, part(10, 12)?, part(12, 14)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

fn syntax(v: &str) -> VersionError {
    refused(v, "syntax error".into())
}

fn refused(v: &str, reason: String) -> VersionError {
    VersionError::Pseudo { version: v.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes() {
        for (v, base) in [
            ("v0.0.0-20191109021931-daa7c04131f5", ""),
            ("v1.2.4-0.20191109021931-daa7c04131f5", "v1.2.3"),
            ("v1.2.10-0.20191109021931-daa7c04131f5", "v1.2.9"),
            ("v2.2.100-0.20191109021931-daa7c04131f5+incompatible", "v2.2.99+incompatible"),
            ("v1.2.3-pre.0.20191109021931-daa7c04131f5", "v1.2.3-pre"),
            ("v1.2.3-a-b.0.20191109021931-daa7c04131f5", "v1.2.3-a-b"),
        ] {
            assert!(is_pseudo_version(v), "{v}");
            assert_eq!(pseudo_version_base(v).as_deref(), Ok(base), "{v}");
            assert_eq!(pseudo_version_rev(v), Ok("daa7c04131f5"));
            assert_eq!(pseudo_version_time(v).unwrap().unix_timestamp(), 1_573_265_971);
        }
    }

    #[test]
    fn not_pseudo_versions() {
        for v in [
            "v1.2.3",
            "v1.2.3-20191109021931-daa7c04131f5",
            "v0.0.0-2019110902193-daa7c04131f5",
            "main",
            "v0.0.0-20191109021931-",
            "v0.0.0-20191109021931-daa_",
            "v1.2.3-00.20191109021931-abc",
        ] {
            assert!(!is_pseudo_version(v), "{v}");
            assert!(pseudo_version_rev(v).is_err());
        }
    }

    #[test]
    fn impossible_ones_are_refused() {
        assert!(pseudo_version_base("v1.2.0-0.20191109021931-daa7c04131f5").is_err());
        assert!(pseudo_version_base("v2.0.0-20191109021931-daa7c04131f5+incompatible").is_err());
        assert!(pseudo_version_time("v0.0.0-20190229021931-daa7c04131f5").is_err());
        assert!(pseudo_version_time("v0.0.0-20191109021960-daa7c04131f5").is_err());
    }
}
