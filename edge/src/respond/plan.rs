//! What a client's conditions and ranges make of an answer: a pure function, apart from sending.
//!
//! RFC 9110: `If-Match` is looked at first, then `If-None-Match` before `If-Modified-Since` (13.2.2), a range only when
//! nothing said 412 or 304, and only if `If-Range` still names what is held. Several ranges at once are answered with the whole body, as 14.2 allows.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shared::digest::Digest;

use super::date;

/// The headers of a request that decide how much of an answer is sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    /// `If-Match`.
    pub(crate) if_match: Option<String>,
    /// `If-None-Match`.
    pub(crate) if_none_match: Option<String>,
    /// `If-Modified-Since`.
    pub(crate) if_modified_since: Option<String>,
    /// `Range`.
    pub(crate) range: Option<String>,
    /// `If-Range`.
    pub(crate) if_range: Option<String>,
}

/// What is known of the body that a 200 would carry.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Subject {
    /// SHA-256 of the body, where known.
    pub(crate) digest: Option<Digest>,
    /// When it last changed, where known.
    pub(crate) modified: Option<SystemTime>,
    /// Its length, where known.
    pub(crate) len: Option<u64>,
    /// Whether parts of it may be asked for.
    pub(crate) ranges: bool,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// All of it.
    Whole,
    /// 304: the client has it.
    NotModified,
    /// 206: these bytes.
    Part(Range<u64>),
    /// 412: it is not what the client has a part of.
    NotTheSame,
    /// 416: there are no such bytes.
    NoSuchPart,
}

/// Decides what is sent.
pub(crate) fn plan(conditions: &Conditions, subject: &Subject) -> Plan {
    if let Some(tags) = &conditions.if_match
        && !is_named(tags, subject)
    {
        return Plan::NotTheSame;
    }
    if client_has_it(conditions, subject) {
        return Plan::NotModified;
    }
    let (Some(range), Some(len), true) = (&conditions.range, subject.len, subject.ranges) else {
        return Plan::Whole;
    };
    if let Some(validator) = &conditions.if_range
        && !still_names(validator, subject)
    {
        return Plan::Whole;
    }
    match parse_range(range) {
        None => Plan::Whole,
        Some(asked) => asked.within(len).map_or(Plan::NoSuchPart, Plan::Part),
    }
}

/// 13.1.1: strong comparison, so a weak tag names nothing. What has no digest yet is not known to be the same.
fn is_named(tags: &str, subject: &Subject) -> bool {
    let etag = subject.digest.map(|digest| digest.etag());
    tags.trim() == "*" || tags.split(',').map(str::trim).any(|tag| Some(tag) == etag.as_deref())
}

fn client_has_it(conditions: &Conditions, subject: &Subject) -> bool {
    if let Some(tags) = &conditions.if_none_match {
        let Some(digest) = subject.digest else {
            return false;
        };
        let etag = digest.etag();
        // 13.1.2: weak comparison, so `W/` does not matter.
        // An asterisk means "any" only where it stands alone: inside quotes it is a letter like others.
        let names = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
        return tags.trim() == "*" || tags.split(',').map(str::trim).any(names);
    }
    let since = conditions.if_modified_since.as_deref().and_then(date::parse);
    match (since, subject.modified) {
        (Some(since), Some(modified)) => whole_seconds(modified) <= whole_seconds(since),
        (None, _) | (_, None) => false,
    }
}

fn still_names(validator: &str, subject: &Subject) -> bool {
    let validator = validator.trim();
    if validator.starts_with('"') {
        return subject.digest.is_some_and(|digest| digest.etag() == validator);
    }
    match (date::parse(validator), subject.modified) {
        (Some(at), Some(modified)) => whole_seconds(at) == whole_seconds(modified),
        (None, _) | (_, None) => false,
    }
}

fn whole_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AskedRange {
    From(u64),
    FromTo(u64, u64),
    Last(u64),
}

impl AskedRange {
    fn within(self, len: u64) -> Option<Range<u64>> {
        match self {
            Self::From(first) => (first < len).then_some(first..len),
            Self::FromTo(first, last) => (first < len).then(|| first..last.saturating_add(1).min(len)),
            Self::Last(count) => (count > 0 && len > 0).then(|| len.saturating_sub(count)..len),
        }
    }
}

/// One range of bytes; none for anything else, which is answered with the whole body.
fn parse_range(header: &str) -> Option<AskedRange> {
    let (unit, spec) = header.trim_matches([' ', '\t']).split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = spec.split_once('-')?;
    // A number too large to count with lies behind the end of any body, as the largest that is left does.
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => number(last).map(AskedRange::Last),
        (first, "") => number(first).map(AskedRange::From),
        (first, last) => {
            let in_order = rank(first) <= rank(last);
            let (first, last) = (number(first)?, number(last)?);
            in_order.then_some(AskedRange::FromTo(first, last))
        }
    }
}

/// Sorts decimal numbers as their values do, however large they are.
fn rank(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            digest: Some(Digest::of(b"0123456789")),
            modified: Some(UNIX_EPOCH + Duration::from_millis(784_111_777_500)),
            len: Some(10),
            ranges: true,
        }
    }

    fn range(text: &str) -> Plan {
        let conditions = Conditions { range: Some(text.into()), ..Conditions::default() };
        plan(&conditions, &subject())
    }

    #[test]
    fn ranges() {
        assert_eq!(range("bytes=0-0"), Plan::Part(0..1));
        assert_eq!(range("bytes=2-5"), Plan::Part(2..6));
        assert_eq!(range("bytes=2-500"), Plan::Part(2..10));
        assert_eq!(range("bytes=9-"), Plan::Part(9..10));
        assert_eq!(range("bytes=-3"), Plan::Part(7..10));
        assert_eq!(range("bytes=-30"), Plan::Part(0..10));
        assert_eq!(range("bytes=10-"), Plan::NoSuchPart);
        assert_eq!(range("bytes=10-12"), Plan::NoSuchPart);
        assert_eq!(range("bytes=-0"), Plan::NoSuchPart);
    }

    #[test]
    fn what_is_no_single_range_is_answered_whole() {
        for text in ["bytes=5-2", "bytes=0-1,3-4", "bytes=+1-2", "bytes=", "bytes=-", "lines=1-2", "bytes=a-b"] {
            assert_eq!(range(text), Plan::Whole, "{text}");
        }
        let list = Subject { ranges: false, ..subject() };
        let conditions = Conditions { range: Some("bytes=0-1".into()), ..Conditions::default() };
        assert_eq!(plan(&conditions, &list), Plan::Whole);
    }

    #[test]
    fn if_none_match_is_a_list_and_beats_the_date() {
        let etag = Digest::of(b"0123456789").etag();
        let ask = |tags: &str, since: Option<&str>| {
            let conditions = Conditions {
                if_none_match: Some(tags.into()),
                if_modified_since: since.map(Into::into),
                ..Conditions::default()
            };
            plan(&conditions, &subject())
        };
        assert_eq!(ask(&etag, None), Plan::NotModified);
        assert_eq!(ask(&format!("\"x\", W/{etag}"), None), Plan::NotModified);
        assert_eq!(ask("*", None), Plan::NotModified);
        assert_eq!(ask("\"x\"", Some("Sun, 06 Nov 1994 08:49:37 GMT")), Plan::Whole);
    }

    #[test]
    fn if_match_is_for_the_very_same_bytes() {
        let etag = Digest::of(b"0123456789").etag();
        let ask = |tags: &str, subject: Subject| {
            let (if_match, range) = (Some(tags.to_owned()), Some("bytes=4-".to_owned()));
            plan(&Conditions { if_match, range, ..Conditions::default() }, &subject)
        };
        for same in [etag.as_str(), "*", &format!("\"x\", {etag}")] {
            assert_eq!(ask(same, subject()), Plan::Part(4..10), "{same}");
        }
        for other in ["\"x\"", "", "*, *", &format!("W/{etag}")] {
            assert_eq!(ask(other, subject()), Plan::NotTheSame, "{other}");
        }
        assert_eq!(ask(&etag, Subject { digest: None, ..subject() }), Plan::NotTheSame);
    }

    #[test]
    fn if_modified_since_counts_whole_seconds() {
        let ask = |since: &str| {
            let conditions = Conditions { if_modified_since: Some(since.into()), ..Conditions::default() };
            plan(&conditions, &subject())
        };
        assert_eq!(ask("Sun, 06 Nov 1994 08:49:37 GMT"), Plan::NotModified);
        assert_eq!(ask("Sun, 06 Nov 1994 08:49:36 GMT"), Plan::Whole);
        assert_eq!(ask("nonsense"), Plan::Whole);
    }

    #[test]
    fn if_range_that_no_longer_holds_gives_the_whole() {
        let ask = |validator: String| {
            let conditions =
                Conditions { range: Some("bytes=0-1".into()), if_range: Some(validator), ..Conditions::default() };
            plan(&conditions, &subject())
        };
        assert_eq!(ask(Digest::of(b"0123456789").etag()), Plan::Part(0..2));
        assert_eq!(ask(Digest::of(b"other").etag()), Plan::Whole);
        assert_eq!(ask("Sun, 06 Nov 1994 08:49:37 GMT".into()), Plan::Part(0..2));
    }
}
