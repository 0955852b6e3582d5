//! `shared::module` against `golang.org/x/mod`: the same questions, the same verdicts, the same results.
//!
//! `MODTIER_SEED` repeats a run, `MODTIER_CASES` asks more than the usual number of cases of each operation.

use super::answers::{OPERATIONS, Operation};
use super::generate::Generator;
use modtier_tests::Seed;
use modtier_tests::oracle::{Answer, Oracle, Question};
use shared::module::unicode;

/// Generated cases of each operation. With 25 operations that is a quarter of a million.
const CASES: usize = 10_000;

/// Both verdicts must make up at least this share of an operation's generated cases.
const RARER_VERDICT_PERCENT_MIN: usize = 5;

#[test]
fn generated_questions_have_the_same_answers() {
    let cases = std::env::var("MODTIER_CASES").map_or(CASES, |n| n.parse().expect("MODTIER_CASES is a number"));
    let mut generator = Generator::new(Seed::announced("module_oracle"), corpus("strings.jsonl"));
    let mut oracle = Oracle::start();
    assert!(cases * OPERATIONS.len() >= 100_000, "fewer cases than promised");
    for operation in OPERATIONS {
        let questions: Vec<_> =
            (0..cases).map(|_| Question { op: operation.name, args: generator.arguments(operation) }).collect();
        let accepted = compare(operation, &questions, &oracle.ask(&questions));
        let rarer = accepted.min(cases - accepted);
        assert!(
            rarer * 100 >= cases * RARER_VERDICT_PERCENT_MIN,
            "{}: {accepted} of {cases} generated cases were accepted: one verdict is too rare",
            operation.name
        );
        println!("{:22} {accepted} of {cases} accepted", operation.name);
    }
}

#[test]
fn corpus_questions_have_the_same_answers() {
    let strings: Vec<String> = corpus("strings.jsonl");
    let pairs: Vec<[String; 2]> = corpus("pairs.jsonl");
    let mut oracle = Oracle::start();
    for operation in OPERATIONS {
        let arguments: Vec<Vec<String>> = match operation.arguments {
            1 => strings.iter().map(|s| vec![s.clone()]).collect(),
            _ => pairs.iter().map(|pair| pair.to_vec()).collect(),
        };
        let questions: Vec<_> = arguments.into_iter().map(|args| Question { op: operation.name, args }).collect();
        let accepted = compare(operation, &questions, &oracle.ask(&questions));
        assert!(accepted > 0 && accepted < questions.len(), "{}: the corpus shows one verdict only", operation.name);
    }
}

#[test]
fn every_character_is_the_same() {
    let answer = Oracle::start().ask(&[Question { op: "unicode", args: Vec::new() }]).remove(0);
    let mut lines = answer.result.lines();
    let version = lines.next().expect("the first line is Go's Unicode version");
    assert_eq!(
        version,
        unicode::VERSION,
        "Go has moved to another Unicode version: in tests/oracle, run \
         `go run . tables > ../../shared/src/module/unicode_tables.rs` and note it in the changelog"
    );
    let mut special = lines.map(|line| {
        let parts: Vec<_> = line.split(' ').collect();
        let code = |text| u32::from_str_radix(text, 16).expect("a code point in hex");
        (code(parts[0]), parts[1] == "true", code(parts[2]))
    });
    let mut next = special.next();
    let mut compared = 0;
    for c in '\0'..=char::MAX {
        let code = u32::from(c);
        let (letter, fold) = match next {
            Some((at, letter, fold)) if at == code => {
                next = special.next();
                (letter, fold)
            }
            _ => (false, code),
        };
        assert_eq!((unicode::is_letter(c), u32::from(unicode::fold(c))), (letter, fold), "U+{code:04X}");
        compared += 1;
    }
    assert_eq!((next, compared), (None, 0x11_0000 - 0x800), "all code points but the surrogates");
}

/// Compares all answers; returns how many Go accepted.
fn compare(operation: &Operation, questions: &[Question], answers: &[Answer]) -> usize {
    assert_eq!(questions.len(), answers.len());
    let mut differing = Vec::new();
    for (question, answer) in questions.iter().zip(answers) {
        if !answer.ok && operation.only_where_go_accepts {
            continue;
        }
        let ours = (operation.ask)(&question.args);
        let theirs = answer.ok.then(|| answer.result.clone());
        if ours != theirs {
            differing.push(format!("{:?}: ours {ours:?}, Go's {theirs:?} {}", question.args, answer.error));
        }
    }
    let shown = differing.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differing.is_empty(), "{}: {} differ, among them\n{shown}", operation.name, differing.len());
    answers.iter().filter(|answer| answer.ok).count()
}

/// The lines of a file of `tests/corpus`, each a JSON value.
fn corpus<T: serde::de::DeserializeOwned>(file: &str) -> Vec<T> {
    let path = modtier_tests::workspace().join("tests/corpus").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let cases: Vec<T> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(!cases.is_empty(), "{} is empty", path.display());
    cases
}
