//! The client of `golang.org/x/mod/sumdb` and ours before the same database, which lies in every way: both believe the same.

use std::io::Write as _;
use std::process::{Command, Stdio};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Fixture, Log, NAME, Served, SigningKey, public_key_text, sign_note, signing_key};

/// What is looked up, in this order by one client.
const VERSIONS: [&str; 3] = ["m.test/m7@v1.0.0", "m.test/m299@v1.0.0", "m.test/m8@v1.0.0"];
const SIZE: usize = 300;
const EVIL: &str = "h1:evil=";

type Lie = fn(&Served, &SigningKey);

fn honest(served: &Served, key: &SigningKey, target: &str) -> String {
    served.log.lock().lookup(target, key).unwrap()
}

fn lie(served: &Served, target: &str, body: impl Into<Vec<u8>>) {
    served.lie(&format!("lookup/{target}"), StatusCode::OK, body);
}

/// Changes the honest answer to the first lookup.
fn altered(served: &Served, key: &SigningKey, change: impl Fn(&str) -> String) {
    let answer = honest(served, key, VERSIONS[0]);
    let other = change(&answer);
    assert_ne!(other, answer);
    lie(served, VERSIONS[0], other);
}

fn tile(served: &Served, path: &str, change: impl Fn(&mut Vec<u8>)) {
    let (level, index, width) = crate::sumdb::test_log::parse_tile(path.strip_prefix("tile/").unwrap()).unwrap();
    let mut body = served.log.lock().tile(level, index, width).unwrap();
    change(&mut body);
    served.lie(path, StatusCode::OK, body);
}

/// A line of hashes that no leaf covers, for the version that is asked.
fn smuggled() -> String {
    format!("m.test/m7 v1.0.0 {EVIL}\nm.test/m7 v1.0.0/go.mod {EVIL}\n")
}

/// Lies about records and heads.
fn lies() -> Vec<(&'static str, Lie)> {
    vec![
        ("honest", |_, _| {}),
        ("forged record", |served, key| altered(served, key, |text| text.replace("h1:zip7=", EVIL))),
        ("another record", |served, key| lie(served, VERSIONS[0], honest(served, key, "m.test/m9@v1.0.0"))),
        ("another record of the same text", |served, key| {
            altered(served, key, |text| text.replacen("7\n", "9\n", 1));
        }),
        ("number beyond the tree", |served, key| altered(served, key, |text| text.replacen("7\n", "300\n", 1))),
        ("lines in front of the record", |served, key| {
            altered(served, key, |text| text.replacen("7\n", &format!("7\n{}", smuggled()), 1));
        }),
        ("lines at the end of the record", |served, key| {
            altered(served, key, |text| text.replacen("\n\n", &format!("\n{}\n", smuggled()), 1));
        }),
        ("lines behind the record", |served, key| {
            altered(served, key, |text| text.replacen("\n\n", &format!("\n\n{}", smuggled()), 1));
        }),
        ("lines behind the note", |served, key| altered(served, key, |text| text.to_owned() + &smuggled())),
        ("lines in the note", |served, key| {
            // A note that the database signed over more than its tree: the lines are signed, and in no leaf.
            let answer = honest(served, key, VERSIONS[0]);
            let (record, note) = answer.split_once("\n\n").unwrap();
            let (tree, _) = note.split_once("\n\n").unwrap();
            let text = format!("{tree}\n{}", smuggled());
            lie(served, VERSIONS[0], format!("{record}\n\n{}", sign_note(NAME, key, &text)));
        }),
        ("another key", |served, _| lie(served, VERSIONS[0], honest(served, &signing_key(2), VERSIONS[0]))),
        ("altered head", |served, key| altered(served, key, |text| text.replace("tree\n300\n", "tree\n299\n"))),
        ("baseless head", |served, key| {
            let text = format!("go.sum database tree\n300\n{}=\n", "A".repeat(43));
            altered(served, key, |answer| {
                format!("{}\n\n{}", answer.split_once("\n\n").unwrap().0, sign_note(NAME, key, &text))
            });
        }),
        ("truncated record", |served, key| altered(served, key, |text| text[..text.len() - 10].to_owned())),
        ("forked tree of the same size", |served, key| fork(served, key, SIZE)),
        ("forked tree that is larger", |served, key| fork(served, key, 310)),
        ("forked tree that is smaller", |served, key| fork(served, key, 260)),
        ("empty answers", |served, _| lie(served, VERSIONS[0], "")),
        ("page", |served, _| lie(served, VERSIONS[0], "<html>log in</html>")),
        ("outage", |served, _| served.fail()),
    ]
}

/// Lies about the tree under an honest head.
fn tiles() -> Vec<(&'static str, Lie)> {
    vec![
        ("truncated tile", |served, _| tile(served, "tile/8/0/000", |body| body.truncate(31 * 32))),
        ("tile that is cut within a hash", |served, _| tile(served, "tile/8/0/000", |body| body.truncate(100))),
        ("long tile", |served, _| tile(served, "tile/8/0/000", |body| body.extend([7; 32]))),
        ("wrong tile at the bottom", |served, _| tile(served, "tile/8/0/000", |body| body[7 * 32] ^= 1)),
        ("wrong tile at the edge", |served, _| tile(served, "tile/8/0/001.p/44", |body| body[0] ^= 1)),
        ("wrong tile above", |served, _| tile(served, "tile/8/1/000.p/1", |body| body[0] ^= 1)),
        ("no tiles", |served, _| {
            for path in ["tile/8/0/000", "tile/8/0/001.p/44", "tile/8/0/001", "tile/8/1/000.p/1"] {
                served.lie(path, StatusCode::NOT_FOUND, "not found");
            }
        }),
        ("tiles of a forged record", |served, key| {
            // Record and its leaf fit together; the tile then no longer fits the head.
            let forged = honest(served, key, VERSIONS[0]).replace("h1:zip7=", EVIL);
            let (_, rest) = forged.split_once('\n').unwrap();
            let record = &rest[..=rest.find("\n\n").unwrap()];
            let leaf = crate::sumdb::tree::leaf_hash(record.as_bytes());
            tile(served, "tile/8/0/000", |body| body[7 * 32..8 * 32].copy_from_slice(&leaf));
            lie(served, VERSIONS[0], forged.clone());
        }),
        ("two forged tiles that fit each other", |served, key| {
            let forged = honest(served, key, VERSIONS[0]).replace("h1:zip7=", EVIL);
            let (_, rest) = forged.split_once('\n').unwrap();
            let leaf = crate::sumdb::tree::leaf_hash(&rest.as_bytes()[..=rest.find("\n\n").unwrap()]);
            let mut row: Vec<_> =
                served.log.lock().tile(0, 0, 256).unwrap().chunks(32).map(|hash| hash.try_into().unwrap()).collect();
            row[7] = leaf;
            let above = crate::sumdb::tree::subtree_hash(&row);
            tile(served, "tile/8/0/000", |body| body[7 * 32..8 * 32].copy_from_slice(&leaf));
            tile(served, "tile/8/1/000.p/1", |body| body.copy_from_slice(&above));
            lie(served, VERSIONS[0], forged.clone());
        }),
    ]
}

/// The last lookup shows another history, signed by the same key.
fn fork(served: &Served, key: &SigningKey, size: usize) {
    lie(served, VERSIONS[2], Log::of(size, "x").lookup(VERSIONS[2], key).unwrap());
}

/// What each side believes of each lookup: the honest hashes, or forged ones.
type Belief = Vec<(bool, bool)>;

async fn ours(fixture: &Fixture) -> Belief {
    let mut belief = Vec::new();
    for lookup in VERSIONS {
        let (module, version) = lookup.split_once('@').unwrap();
        let number = module.strip_prefix("m.test/m").unwrap();
        let believes = async |hash: &str| fixture.database.check(lookup, module, version, hash).await.is_ok();
        let forked = believes(&format!("h1:zip{number}x=")).await;
        belief.push((believes(&format!("h1:zip{number}=")).await, forked || believes(EVIL).await));
    }
    belief
}

fn theirs(said: &str) -> Belief {
    let beliefs = said.lines().zip(VERSIONS).map(|(lines, lookup)| {
        let number = lookup.strip_prefix("m.test/m").unwrap().split_once('@').unwrap().0;
        let has = |hash: &str| lines.split("; ").any(|line| line.ends_with(hash));
        (has(&format!(" h1:zip{number}=")), has(&format!(" h1:zip{number}x=")) || has(&format!(" {EVIL}")))
    });
    beliefs.collect()
}

/// Asks the oracle one question for each database.
fn ask_go(bases: &[String], key: &str) -> Vec<String> {
    let versions = VERSIONS.join(",");
    let questions: String =
        bases.iter().map(|base| json!({"op": "sumdb", "args": [base, key, versions]}).to_string() + "\n").collect();
    let mut go = Command::new("go")
        .args(["run", "-mod=readonly", "-buildvcs=false", "."])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/oracle"))
        .envs([("GOWORK", "off"), ("GOFLAGS", "")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the go command, which this test needs");
    go.stdin.take().unwrap().write_all(questions.as_bytes()).unwrap();
    let output = go.wait_with_output().unwrap();
    assert!(output.status.success(), "the oracle failed; its reason is on standard error");
    let answers = std::str::from_utf8(&output.stdout).unwrap().lines().map(|line| {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        answer["result"].as_str().unwrap().to_owned()
    });
    answers.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_database_is_believed_as_little_as_by_go() {
    let mut fixtures = Vec::new();
    for (name, lie) in lies().into_iter().chain(tiles()) {
        let fixture = Fixture::new(Log::of(SIZE, "")).await;
        lie(&fixture.served, &fixture.key);
        fixtures.push((name, fixture));
    }
    let bases: Vec<String> = fixtures.iter().map(|(_, fixture)| fixture.base.clone()).collect();
    let key = public_key_text(NAME, &signing_key(1));
    let said = tokio::task::spawn_blocking(move || ask_go(&bases, &key)).await.unwrap();
    assert_eq!(said.len(), fixtures.len());
    let mut differences = Vec::new();
    for ((name, fixture), said) in fixtures.iter().zip(said) {
        let (ours, theirs) = (ours(fixture).await, theirs(&said));
        assert!(ours.iter().all(|(_, forged)| !forged), "{name}: a forged hash is believed: {ours:?}");
        if ours != theirs {
            differences.push(format!("{name}: ours {ours:?}, Go's {theirs:?}: {said}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
