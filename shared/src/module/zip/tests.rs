//! Rules of module zips on zips made here. The comparison with Go is in `tests/tests/go/oracle/zips.rs`.

use std::io::{Cursor, Write as _};

use ::zip::ZipWriter;
use ::zip::write::SimpleFileOptions;

use super::*;

const PREFIX: &str = "example.com/m@v1.0.0/";

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn below(names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|name| format!("{PREFIX}{name}")).collect();
    zip_of(&names.iter().map(|name| (name.as_str(), b"x".as_slice())).collect::<Vec<_>>())
}

fn verify(zip: &[u8]) -> Result<ZipSummary, ZipError> {
    let path = ModulePath::new("example.com/m").unwrap();
    let version = Version::new(&path, "v1.0.0").unwrap();
    verify_zip(Cursor::new(zip), zip.len() as u64, &path, &version)
}

fn reason(zip: &[u8]) -> String {
    verify(zip).expect_err("this zip breaks a rule").to_string()
}

#[test]
fn a_valid_zip() {
    let gomod = b"module example.com/m\n".as_slice();
    let zip = zip_of(&[(&format!("{PREFIX}m.go"), b"package m\n".as_slice()), (&format!("{PREFIX}go.mod"), gomod)]);
    let summary = verify(&zip).unwrap();
    let digest = |content: &[u8]| -> [u8; 32] { Sha256::digest(content).into() };
    let listing =
        [("example.com/m@v1.0.0/go.mod", digest(gomod)), ("example.com/m@v1.0.0/m.go", digest(b"package m\n"))];
    assert_eq!(summary.h1, h1::hash1(listing));
    assert_eq!(summary.gomod.as_deref(), Some(gomod));
    assert_eq!(summary.gomod_h1, h1::hash1_gomod(gomod));
    assert_eq!(summary.files, 2);
}

#[test]
fn a_symbolic_link_is_told() {
    assert_eq!(verify(&below(&["m.go"])).unwrap().irregular, None);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink(format!("{PREFIX}link"), "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let zip = writer.finish().unwrap().into_inner();
    assert_eq!(verify(&zip).unwrap().irregular.as_deref(), Some("example.com/m@v1.0.0/link"));
}

#[test]
fn without_a_go_mod_one_is_made_up() {
    let summary = verify(&below(&["m.go"])).unwrap();
    assert_eq!(summary.gomod, None);
    assert_eq!(summary.gomod_h1, h1::hash1_gomod(b"module example.com/m\n"));
}

#[test]
fn names_that_a_module_must_not_have() {
    for (names, part) in [
        (vec!["sub/go.mod"], "not in module root"),
        (vec!["Go.mod"], "lowercase"),
        (vec!["a*b"], "invalid char"),
        (vec!["../x"], "invalid path element"),
        (vec!["a//b"], "double slash"),
        (vec!["nul.txt"], "Windows"),
        (vec!["a", "A"], "collision"),
        (vec!["a", "a/b"], "both a file and a directory"),
    ] {
        let reason = reason(&below(&names));
        assert!(reason.contains(part), "{names:?}: {reason}");
    }
    assert!(reason(&zip_of(&[("other.com/m@v1.0.0/x", b"")])).contains("has unexpected file other.com/m@v1.0.0/x"));
}

#[test]
fn damage_is_found() {
    let zip = below(&["m.go"]);
    assert!(verify(&zip).is_ok());
    for len in 0..zip.len() {
        assert!(verify(&zip[..len]).is_err(), "cut at {len}");
    }
    let crc_at = zip.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap() + 16;
    let mut damaged = zip.clone();
    damaged[crc_at] ^= 1;
    assert!(reason(&damaged).contains("checksum"));
    assert_eq!(reason(b""), "malformed zip: not a zip");
}

#[test]
fn a_declared_size_is_not_believed() {
    let zip = below(&["m.go"]);
    let size_at = zip.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap() + 24;
    for (size, part) in [(0_u32, "longer"), (2, "shorter"), (600 << 20, "too large"), (u32::MAX, "too large")] {
        let mut lying = zip.clone();
        lying[size_at..size_at + 4].copy_from_slice(&size.to_le_bytes());
        let reason = reason(&lying);
        assert!(reason.contains(part), "{size}: {reason}");
    }
}

#[test]
fn a_failing_reader_is_no_bad_zip() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk"))
        }
    }
    impl Seek for Failing {
        fn seek(&mut self, _: io::SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }
    let path = ModulePath::new("example.com/m").unwrap();
    let version = Version::new(&path, "v1.0.0").unwrap();
    assert!(verify_zip(Failing, 1000, &path, &version).unwrap_err().is_io());
    let over = verify_zip(Failing, ZIP_BYTES_MAX + 1, &path, &version).unwrap_err();
    assert!(over.is_too_large());
}
