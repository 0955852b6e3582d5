//! Ranges and conditions against an oracle that was written from RFC 9110 alone (13 and 14), over numbers of any size.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzz;

const BODY: &[u8] = b"0123456789";
const MODIFIED: u64 = 784_111_777;

/// What 14.1 and 14.2 make of a header, for a body of `len` bytes that may be asked for in parts.
fn oracle(header: &str, len: u64) -> Plan {
    let header = header.trim_matches([' ', '\t']);
    let Some((unit, set)) = header.split_once('=') else { return Plan::Whole };
    let Some((first, last)) = set.split_once('-') else { return Plan::Whole };
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    // 14.1: the unit's name is read in any case. Several ranges may be answered by the whole body, and here they are.
    if !unit.eq_ignore_ascii_case("bytes") || ![first, last].iter().all(|text| text.is_empty() || is_number(text)) {
        return Plan::Whole;
    }
    // By their digits: a number may be larger than any that a computer counts with.
    let plain = |text: &str| text.trim_start_matches('0').to_owned();
    let below = |a: &str, b: &str| (plain(a).len(), plain(a)) < (plain(b).len(), plain(b));
    let total = len.to_string();
    match (first, last) {
        ("", "") => Plan::Whole,
        ("", count) if plain(count).is_empty() || len == 0 => Plan::NoSuchPart,
        ("", count) if below(count, &total) => Plan::Part(len - count.parse::<u64>().unwrap()..len),
        ("", _) => Plan::Part(0..len),
        (first, last) if !last.is_empty() && below(last, first) => Plan::Whole,
        (first, _) if !below(first, &total) => Plan::NoSuchPart,
        (first, last) if !last.is_empty() && below(last, &total) => {
            Plan::Part(first.parse().unwrap()..last.parse::<u64>().unwrap() + 1)
        }
        (first, _) => Plan::Part(first.parse().unwrap()..len),
    }
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..25_u64).prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        "0{0,3}[0-9]{1,25}",
        Just(u64::MAX.to_string()),
        Just((u128::from(u64::MAX) + 1).to_string()),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![0..25_u64, any::<u64>(), Just(u64::MAX)]
}

fn ranges() -> impl Strategy<Value = String> {
    let tokens: &'static [&'static str] =
        &["bytes", "=", "-", ",", " ", "\t", "+", "0", "9", "10", "*", "/", "\u{e9}", "18446744073709551616"];
    let some = |number: BoxedStrategy<String>| prop_oneof![3 => number, 1 => Just(String::new())];
    let one = (some(number().boxed()), some(number().boxed())).prop_map(|(first, last)| format!("{first}-{last}"));
    let several = prop::collection::vec(one, 1..3).prop_map(|ranges| ranges.join(","));
    let unit = select(vec!["bytes", "bytes", "bytes", "Bytes", "BYTES", "lines", "none", ""]);
    let sound = prop_oneof![
        3 => (unit, several).prop_map(|(unit, set)| format!("{unit}={set}")),
        1 => "[ -~]{0,20}",
    ];
    fuzz::damaged(sound, tokens)
}

#[test]
fn fuzz_ranges() {
    fuzz::run("ranges", &(ranges(), length()), |(header, len)| {
        let conditions = Conditions { range: Some(header.clone()), ..Conditions::default() };
        let subject = Subject { len: Some(len), ranges: true, ..Subject::default() };
        let plan = plan(&conditions, &subject);
        if let Plan::Part(range) = &plan {
            prop_assert!(range.start < range.end && range.end <= len, "{:?} of {}", range, len);
        }
        prop_assert_eq!(plan, oracle(&header, len), "{:?} of {}", header, len);
        Ok(())
    });
}

/// A header's text, and whether it names what is held.
type Tags = (String, bool);

/// Lists of entity tags as 8.8.3 allows them: commas, asterisks and spaces may stand inside the quotes.
fn tags() -> impl Strategy<Value = Tags> {
    let ours = Digest::of(BODY).etag();
    let inner = ours.trim_matches('"').to_owned();
    let tag = prop_oneof![
        Just((ours.clone(), true)),
        Just((format!("W/{ours}"), true)),
        Just((inner, false)),
        Just((format!("\"{}\"", ours.trim_matches('"').to_uppercase()), false)),
        Just((Digest::of(b"other").etag(), false)),
        "\"[!#-+,\\-.*:;a-f]{0,9}\"".prop_map(|tag| (tag, false)),
        Just(("\"a,*,b\"".to_owned(), false)),
        Just((String::new(), false)),
    ];
    let list = (prop::collection::vec(tag, 1..4), select(vec![",", ", ", " ,", "\t,  "])).prop_map(|(tags, comma)| {
        let texts: Vec<_> = tags.iter().map(|(text, _)| text.as_str()).collect();
        (texts.join(comma), tags.iter().any(|(_, ours)| *ours))
    });
    prop_oneof![1 => Just(("*".to_owned(), true)), 6 => list]
}

/// A header's text, and the time it says.
fn dates() -> impl Strategy<Value = (String, Option<u64>)> {
    let near = (MODIFIED - 3)..(MODIFIED + 3);
    let any_time = 0..4_000_000_000_u64;
    let date = prop_oneof![near, any_time]
        .prop_map(|seconds| (date::format(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap(), Some(seconds)));
    prop_oneof![4 => date, 1 => "[ -~]{0,12}".prop_map(|text| (text, None))]
}

#[test]
fn fuzz_conditions() {
    let maybe = |percent: f64, text: BoxedStrategy<Tags>| prop::option::weighted(percent, text);
    let input = (
        maybe(0.5, tags().boxed()),
        prop::option::weighted(0.5, dates()),
        prop::option::weighted(0.7, ranges()),
        prop::option::weighted(0.4, prop_oneof![tags().prop_map(Ok), dates().prop_map(Err)]),
        any::<bool>(),
    );
    let etag = Digest::of(BODY).etag();
    fuzz::run("conditions", &input, |(none_match, since, range, if_range, allows_ranges)| {
        let len = BODY.len() as u64;
        let conditions = Conditions {
            if_match: None,
            if_none_match: none_match.as_ref().map(|(text, _)| text.clone()),
            if_modified_since: since.as_ref().map(|(text, _)| text.clone()),
            range: range.clone(),
            if_range: if_range.as_ref().map(|either| match either {
                Ok((text, _)) | Err((text, _)) => text.clone(),
            }),
        };
        let subject = Subject {
            digest: Some(Digest::of(BODY)),
            modified: Some(UNIX_EPOCH + Duration::from_millis(MODIFIED * 1000 + 500)),
            len: Some(len),
            ranges: allows_ranges,
        };
        // 13.2.2: the date counts only where there are no tags.
        let has_it = match (&none_match, &since) {
            (Some((_, ours)), _) => *ours,
            (None, Some((_, at))) => at.is_some_and(|at| MODIFIED <= at),
            (None, None) => false,
        };
        // 13.1.5: one strong tag, or the very date.
        let still_holds = match &if_range {
            None => true,
            Some(Ok((text, _))) => text.trim() == etag,
            Some(Err((_, at))) => *at == Some(MODIFIED),
        };
        let expected = match &range {
            _ if has_it => Plan::NotModified,
            Some(range) if allows_ranges && still_holds => oracle(range, len),
            _ => Plan::Whole,
        };
        prop_assert_eq!(plan(&conditions, &subject), expected, "{:?}", conditions);
        Ok(())
    });
}
