//! `shared::module::zip` against Go's `zip.CheckZip`, `zip.Unzip` and `dirhash.HashZip`: the same zips, the same verdicts, the same
//! `h1:`. `MODTIER_SEED` repeats a run, `MODTIER_ZIPS` damages more zips than usual.

use std::io::{Cursor, Write as _};
use std::path::Path;

use super::zip_cases::{self, Case, MODULE, VERSION};
use modtier_tests::Seed;
use modtier_tests::oracle::{Oracle, Question};
use shared::module::zip::{ZipError, ZipSummary, verify_zip};
use shared::module::{ModulePath, Version};

/// Zips damaged at random.
const DAMAGED: usize = 3_000;

#[test]
fn every_made_zip_has_the_same_verdict() {
    let cases = zip_cases::all();
    let accepted = compare(&mut Oracle::start(), &cases);
    assert!(accepted * 5 > cases.len() && accepted * 5 < cases.len() * 4, "{accepted} of {} accepted", cases.len());
    println!("{accepted} of {} made zips accepted", cases.len());
}

#[test]
fn every_damaged_zip_has_the_same_verdict() {
    let count = std::env::var("MODTIER_ZIPS").map_or(DAMAGED, |n| n.parse().expect("MODTIER_ZIPS is a number"));
    let mut seed = Seed::announced("module_zip_oracle");
    let whole = [zip_cases::plain().bytes(), written_by_a_library()];
    let mut oracle = Oracle::start();
    let mut accepted = 0;
    for done in (0..count).step_by(500) {
        let cases: Vec<_> = (done..count.min(done + 500))
            .map(|i| (format!("damaged {i}"), damaged(&whole[i % whole.len()], &mut seed)))
            .collect();
        accepted += compare(&mut oracle, &cases);
    }
    assert!(
        accepted * 20 > count && accepted * 20 < count * 19,
        "{accepted} of {count} accepted: one verdict is too rare"
    );
    println!("{accepted} of {count} damaged zips accepted");
}

#[test]
fn zips_that_go_makes_have_the_same_hash() {
    let mut oracle = Oracle::start();
    let dir = oracle.dir().join("source");
    let long = "y".repeat(300_000);
    for (name, content) in [
        ("go.mod", "module example.com/m\n"),
        ("m.go", "package m\n"),
        ("Upper/lower/Ünï 漢.txt", "words"),
        ("empty", ""),
        ("long", long.as_str()),
        ("vendor/x/y.go", "left out"),
        ("sub/go.mod", "module left.out/sub\n"),
        (".git/config", "left out"),
    ] {
        let file = dir.join(name);
        std::fs::create_dir_all(file.parent().expect("below the source")).unwrap();
        std::fs::write(file, content).unwrap();
    }
    let zip = oracle.dir().join("made-by-go.zip");
    let text = |path: &Path| path.to_str().expect("temporary names are UTF-8").to_owned();
    for (module, version) in [
        ("example.com/m", "v1.0.0"),
        ("example.com/M/v2", "v2.0.0-RC1"),
        ("gopkg.in/m.v1", "v1.2.3"),
        ("a.b/c", "v3.0.0+incompatible"),
    ] {
        let args = vec![module.to_owned(), version.to_owned(), text(&dir), text(&zip)];
        let answer = oracle.ask(&[Question { op: "zip_from_dir", args }]).remove(0);
        assert!(answer.ok, "{}", answer.error);
        let summary = verify(&std::fs::read(&zip).unwrap(), module, version).unwrap();
        assert_eq!(summary.h1, answer.result, "{module}@{version}");
        assert_eq!(summary.files, 5);
        assert_eq!(summary.gomod.as_deref(), Some(b"module example.com/m\n".as_slice()));
    }
    let last = std::fs::read(&zip).unwrap();
    assert!(verify(&last, MODULE, VERSION).is_err(), "another module's zip");
}

/// Compares verdict and hash of every case; returns how many Go accepted.
fn compare(oracle: &mut Oracle, cases: &[Case]) -> usize {
    let dir = oracle.dir();
    let question = |(i, (_, zip)): (usize, &Case)| {
        let file = dir.join(format!("{i}.zip"));
        std::fs::write(&file, zip).expect("a temporary file");
        let file = file.to_str().expect("temporary names are UTF-8").to_owned();
        Question { op: "zip", args: vec![MODULE.to_owned(), VERSION.to_owned(), file] }
    };
    let questions: Vec<_> = cases.iter().enumerate().map(question).collect();
    let mut differing = Vec::new();
    let mut accepted = 0;
    for ((name, zip), answer) in cases.iter().zip(oracle.ask(&questions)) {
        accepted += usize::from(answer.ok);
        let ours = verify(zip, MODULE, VERSION);
        let hash = ours.as_ref().ok().map(|summary| summary.h1.clone());
        if hash != answer.ok.then(|| answer.result.clone()) {
            differing.push(format!("{name}: ours {ours:?}, Go's {answer:?}"));
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    accepted
}

fn verify(zip: &[u8], module: &str, version: &str) -> Result<ZipSummary, ZipError> {
    let path = ModulePath::new(module).expect("a valid module path");
    let version = Version::new(&path, version).expect("a version of this module");
    verify_zip(Cursor::new(zip), zip.len() as u64, &path, &version)
}

/// A zip from an independent writer.
fn written_by_a_library() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("go.mod", "module example.com/m\n"), ("a/b.go", "package b\n"), ("LICENSE", "words")] {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file(format!("{MODULE}@{VERSION}/{name}"), options).expect("memory takes everything");
        writer.write_all(content.repeat(20).as_bytes()).expect("memory takes everything");
    }
    writer.finish().expect("memory takes everything").into_inner()
}

/// Changes up to three places, more often in the directory, where the fields are.
fn damaged(whole: &[u8], seed: &mut Seed) -> Vec<u8> {
    let mut below = |limit: usize| usize::try_from(seed.within(0..limit as u64)).expect("below a usize");
    let mut zip = whole.to_vec();
    for _ in 0..=below(3) {
        let directory = zip.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap_or(0);
        let from = if below(3) > 0 { directory } else { 0 };
        let at = from + below((zip.len() - from).max(1));
        if at >= zip.len() {
            continue;
        }
        match below(8) {
            0 => zip[at] ^= 1 << below(8),
            1 => zip[at] = zip[at].wrapping_add(1),
            2 => zip[at] = [0, 0xff, b'/', b'A', b'P'][below(5)],
            3 => {
                zip.remove(at);
            }
            4 => zip.insert(at, u8::try_from(below(256)).expect("a byte")),
            5 => zip.truncate(at),
            6 => {
                let end = (at + below(60)).min(zip.len());
                let piece = zip[at..end].to_vec();
                zip.splice(at..at, piece);
            }
            _ => {
                let other = below(zip.len());
                zip.swap(at, other);
            }
        }
    }
    zip
}
