//! Conditional and range requests (RFC 9110 sections 13 and 14) as a pure function: what the headers ask for, against what is held.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderName};

/// A complete body, as far as conditions look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held<'a> {
    /// Its entity tag, quoted.
    pub(crate) etag: &'a str,
    /// When it was last modified.
    pub(crate) modified: SystemTime,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Whether ranges of it are served.
    pub(crate) ranges: bool,
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// 200 and all of it.
    Whole,
    /// 206 and this part.
    Part(Range<u64>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
}

/// Whether the answer depends on the digest: then a body that is still filling must be complete first.
pub(crate) fn needs_the_digest(headers: &HeaderMap) -> bool {
    [RANGE, IF_MATCH].iter().any(|name| headers.contains_key(name))
}

/// Evaluates the headers in the order of RFC 9110 section 13.2.2.
pub(crate) fn decide(headers: &HeaderMap, held: Held<'_>) -> Decision {
    if let Some(list) = text(headers, &IF_MATCH) {
        if !matches_any(&list, held.etag, false) {
            return Decision::PreconditionFailed;
        }
    } else if let Some(since) = date(headers, &IF_UNMODIFIED_SINCE)
        && seconds(held.modified) > since
    {
        return Decision::PreconditionFailed;
    }
    if let Some(list) = text(headers, &IF_NONE_MATCH) {
        if matches_any(&list, held.etag, true) {
            return Decision::NotModified;
        }
    } else if let Some(since) = date(headers, &IF_MODIFIED_SINCE)
        && seconds(held.modified) <= since
    {
        return Decision::NotModified;
    }
    let Some(range) = text(headers, &RANGE).filter(|_| held.ranges) else { return Decision::Whole };
    if let Some(condition) = text(headers, &IF_RANGE) {
        // Dates are too coarse to prove that bytes are equal; the entity tag proves it.
        if condition.trim() != held.etag {
            return Decision::Whole;
        }
    }
    parse_range(&range, held.len)
}

/// One byte range. What is not understood, or asks for several, is answered whole (RFC 9110 section 14.2).
fn parse_range(text: &str, len: u64) -> Decision {
    let spec = text.trim().split_once('=').filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, spec)| spec.trim().split_once('-')) else {
        return Decision::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let number =
        |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().unwrap_or(u64::MAX));
    if first.is_empty() {
        return match number(last) {
            None => Decision::Whole,
            Some(_) if last.is_empty() => Decision::Whole,
            Some(0) => Decision::Unsatisfiable,
            Some(_) if len == 0 => Decision::Unsatisfiable,
            Some(suffix) => Decision::Part(len.saturating_sub(suffix)..len),
        };
    }
    let (Some(first), Some(end)) = (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) else {
        return Decision::Whole;
    };
    if end < first {
        return Decision::Whole;
    }
    if first >= len {
        return Decision::Unsatisfiable;
    }
    Decision::Part(first..end.saturating_add(1).min(len))
}

fn matches_any(list: &str, etag: &str, weak: bool) -> bool {
    list.split(',').map(str::trim).any(|candidate| {
        let candidate = if weak { candidate.strip_prefix("W/").unwrap_or(candidate) } else { candidate };
        candidate == "*" || candidate == etag
    })
}

/// The values of a header, joined as lists are.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    parse_date(headers.get(name)?.to_str().ok()?)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const HTTP_DATE: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// A time as HTTP writes it (IMF-fixdate).
pub(crate) fn format_date(time: SystemTime) -> String {
    // Fails only for years that no clock shows.
    time::OffsetDateTime::from(time).format(HTTP_DATE).unwrap_or_default()
}

/// Unix seconds of an IMF-fixdate; the two obsolete forms are not understood, so the condition does not count.
fn parse_date(text: &str) -> Option<u64> {
    let parsed = time::PrimitiveDateTime::parse(text.trim(), HTTP_DATE).ok()?;
    u64::try_from(parsed.assume_utc().unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ETAG: &str = "\"abc\"";

    fn ask(headers: &[(HeaderName, &str)]) -> Decision {
        let modified = UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        decide(&headers, Held { etag: ETAG, modified, len: 100, ranges: true })
    }

    #[test]
    fn entity_tags_decide_before_dates() {
        assert_eq!(ask(&[]), Decision::Whole);
        assert_eq!(ask(&[(IF_NONE_MATCH, ETAG)]), Decision::NotModified);
        assert_eq!(ask(&[(IF_NONE_MATCH, "\"x\", W/\"abc\"")]), Decision::NotModified);
        assert_eq!(ask(&[(IF_NONE_MATCH, "*")]), Decision::NotModified);
        let now = format_date(SystemTime::now());
        assert_eq!(ask(&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, &now)]), Decision::Whole);
        assert_eq!(ask(&[(IF_MATCH, "\"x\"")]), Decision::PreconditionFailed);
        assert_eq!(ask(&[(IF_MATCH, "W/\"abc\"")]), Decision::PreconditionFailed);
        assert_eq!(ask(&[(IF_MATCH, ETAG), (RANGE, "bytes=10-")]), Decision::Part(10..100));
    }

    #[test]
    fn dates_are_whole_seconds() {
        let modified = "Tue, 14 Nov 2023 22:13:20 GMT";
        assert_eq!(format_date(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), modified);
        assert_eq!(ask(&[(IF_MODIFIED_SINCE, modified)]), Decision::NotModified);
        assert_eq!(ask(&[(IF_MODIFIED_SINCE, "Tue, 14 Nov 2023 22:13:19 GMT")]), Decision::Whole);
        assert_eq!(ask(&[(IF_MODIFIED_SINCE, "yesterday")]), Decision::Whole);
        assert_eq!(ask(&[(IF_UNMODIFIED_SINCE, "Tue, 14 Nov 2023 22:13:19 GMT")]), Decision::PreconditionFailed);
        assert_eq!(ask(&[(IF_UNMODIFIED_SINCE, modified)]), Decision::Whole);
    }

    #[test]
    fn ranges_are_single_and_clipped() {
        for (range, decision) in [
            ("bytes=0-0", Decision::Part(0..1)),
            ("bytes=10-19", Decision::Part(10..20)),
            ("Bytes=10-19", Decision::Part(10..20)),
            ("bytes=90-500", Decision::Part(90..100)),
            ("bytes=90-99999999999999999999999", Decision::Part(90..100)),
            ("bytes=-10", Decision::Part(90..100)),
            ("bytes=-500", Decision::Part(0..100)),
            ("bytes=100-", Decision::Unsatisfiable),
            ("bytes=-0", Decision::Unsatisfiable),
            ("bytes=5-2", Decision::Whole),
            ("bytes=0-1,5-6", Decision::Whole),
            ("bytes=-", Decision::Whole),
            ("bytes=a-b", Decision::Whole),
            ("bytes=+1-2", Decision::Whole),
            ("items=0-1", Decision::Whole),
        ] {
            assert_eq!(ask(&[(RANGE, range)]), decision, "{range}");
        }
    }

    #[test]
    fn if_range_needs_the_very_same_bytes() {
        assert_eq!(ask(&[(RANGE, "bytes=1-2"), (IF_RANGE, ETAG)]), Decision::Part(1..3));
        assert_eq!(ask(&[(RANGE, "bytes=1-2"), (IF_RANGE, "\"x\"")]), Decision::Whole);
        assert_eq!(ask(&[(RANGE, "bytes=1-2"), (IF_RANGE, "Tue, 14 Nov 2023 22:13:20 GMT")]), Decision::Whole);
    }
}
