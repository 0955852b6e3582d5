//! Fuzzing of what reads bytes from outside: generated input for as long as `MODTIER_FUZZ_SECONDS` says, one second without it.
//!
//! The targets stand beside what they attack: `respond/plan/fuzz.rs`, `serve/ask/fuzz.rs`, `cache/key/fuzz.rs`. Each draws
//! well-formed input, damages it, and compares with an oracle written apart. A failure is shrunk by proptest and printed with
//! the seed that repeats it (`MODTIER_SEED`).

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

/// Cases between two looks at the clock.
const ROUND: u32 = 1000;

/// Draws from `input` and checks until the time is over.
pub(crate) fn run<S: Strategy>(target: &str, input: &S, check: impl Fn(S::Value) -> TestCaseResult) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let ends_at = Instant::now() + Duration::from_secs(number("MODTIER_FUZZ_SECONDS").unwrap_or(1));
    let first = number("MODTIER_SEED").unwrap_or_else(rand::random);
    let config = Config { cases: ROUND, failure_persistence: None, ..Config::default() };
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < ends_at {
        let seed = first.wrapping_add(rounds);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let outcome = TestRunner::new_with_rng(config.clone(), random).run(input, &check);
        outcome.unwrap_or_else(|error| panic!("{target}, MODTIER_SEED={seed}: {error}"));
        rounds += 1;
    }
    println!("{target}: {} cases, MODTIER_SEED={first}", rounds * u64::from(ROUND));
}

/// One damage to a text.
#[derive(Debug, Clone)]
enum Damage {
    Insert(Index, &'static str),
    Delete(Index, usize),
    Double(Index, usize),
    Encode(Index),
    FlipCase(Index),
}

/// Texts of `sound`, most of them with up to four damages; `tokens` are what an attacker would put in.
pub(crate) fn damaged(
    sound: impl Strategy<Value = String>,
    tokens: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let at = any::<Index>;
    let damage = prop_oneof![
        4 => (at(), select(tokens)).prop_map(|(at, token)| Damage::Insert(at, token)),
        2 => (at(), 1..6_usize).prop_map(|(at, len)| Damage::Delete(at, len)),
        1 => (at(), 1..20_usize).prop_map(|(at, len)| Damage::Double(at, len)),
        2 => at().prop_map(Damage::Encode),
        1 => at().prop_map(Damage::FlipCase),
    ];
    (sound, prop::collection::vec(damage, 0..5))
        .prop_map(|(text, damages)| damages.iter().fold(text, |text, damage| harmed(&text, damage)))
}

fn harmed(text: &str, damage: &Damage) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let len = letters.len();
    let end = |from: usize, count: usize| (from + count).min(len);
    match *damage {
        Damage::Insert(at, token) => {
            let at = at.index(len + 1);
            letters.splice(at..at, token.chars());
        }
        _ if len == 0 => {}
        Damage::Delete(at, count) => {
            let at = at.index(len);
            letters.drain(at..end(at, count));
        }
        Damage::Double(at, count) => {
            let at = at.index(len);
            let part = letters[at..end(at, count)].to_vec();
            letters.splice(at..at, part);
        }
        Damage::Encode(at) => {
            let at = at.index(len);
            let mut utf8 = [0; 4];
            let encoded: Vec<_> = letters[at].encode_utf8(&mut utf8).bytes().map(|b| format!("%{b:02x}")).collect();
            letters.splice(at..=at, encoded.concat().chars());
        }
        Damage::FlipCase(at) => {
            let letter = &mut letters[at.index(len)];
            *letter =
                if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        }
    }
    letters.into_iter().collect()
}
