//! Module zips with every kind of defect, and oddities that Go lets pass.

use modtier_tests::raw_zip::{Descriptor, RawFile, RawZip, Zip64, zip64_extra};

/// The module that all zips claim to be.
pub(crate) const MODULE: &str = "example.com/m";
/// Its version.
pub(crate) const VERSION: &str = "v1.0.0";
const PREFIX: &str = "example.com/m@v1.0.0/";

/// A named zip.
pub(crate) type Case = (String, Vec<u8>);

pub(crate) fn file(name: &str, content: &[u8]) -> RawFile {
    RawFile::new(&format!("{PREFIX}{name}"), content)
}

/// A valid zip of a few files of all sorts.
pub(crate) fn plain() -> RawZip {
    RawZip::of(vec![
        file("m.go", b"package m\n").deflated(),
        file("go.mod", b"module example.com/m\n\ngo 1.21\n"),
        file("empty", b""),
        file("a/b/\u{e9} c.txt", &[b'x'; 4000]).deflated(),
        RawFile { descriptor: Some(Descriptor { signed: true, crc: None }), ..file("d.go", b"package d\n").deflated() },
    ])
}

/// All made cases.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = vec![("plain".to_owned(), plain().bytes()), ("empty file".to_owned(), Vec::new())];
    cases.push(("no entries".to_owned(), RawZip::default().bytes()));
    cases.extend(names());
    cases.extend(fields());
    cases.extend(ends());
    cases
}

/// The names below the prefix, each set a zip.
#[rustfmt::skip]
const NAME_SETS: &[&[&str]] = &[
    &["a"], &["a/b/c"], &["A", "b"], &["a b"], &["\u{e9}.go"], &["\u{6f22}"], &[".a"], &["a.b.c"], &["-a"], &["a~1"],
    &["LICENSE"], &["a/"], &["a/", "a/"], &["a/", "a/b"], &["a/b", "a/"], &[""], &["", ""], &["", "a"],
    &["a/", "b/", "a/"], &["go.mod/"], &["a/go.mod/"], &["Go.mod/"], &["vendor/x/y.go"], &["vendor/modules.txt"],
    &[".git/config"], &[".hg_archival.txt"], &["a", "a"], &["a", "A"], &["a/x", "A/y"], &["a", "a/b"], &["a/b", "a"],
    &["a", "a/"], &["a/", "a"], &["k", "\u{212a}"], &["s", "\u{17f}"], &["\u{e9}", "\u{c9}"], &["\u{3c3}", "\u{3c2}"],
    &["\u{1c5}", "\u{1c4}"], &["ss", "\u{df}"], &["\u{130}", "i"], &["go.mod"], &["GO.MOD"], &["Go.mod"],
    &["a/go.mod"], &["a/Go.Mod"], &["go.mod", "GO.mod"], &["go.mod", "go.mod"], &["go.mod.x"], &["a/"], &["/a"],
    &["a//b"], &["./a"], &["../a"], &["a/../b"], &["a/."], &["a/.."], &["a//"], &["/"], &["//"], &["a."], &["a/b."],
    &["."], &[".."], &["..."], &["a..b"], &["con"], &["CON.txt"], &["a/nul"], &["a/lpt1.x/b"], &["com0"], &["a*b"],
    &["a:b"], &["a\\b"], &["a?b"], &["a\"b"], &["a'b"], &["a`b"], &["a|b"], &["a<b"], &["a;b"], &["a\nb"], &["a\0b"],
    &["a\u{7f}b"], &["a\u{301}"], &["\u{2167}"], &["\u{1f600}"], &["\u{200b}"], &["!#$%&()+,-.=@[]^_{}~ "], &["C:/a"],
    &["\\a"], &["license", "LICENSE"],
];

/// Zips that differ by the names of their entries.
fn names() -> Vec<Case> {
    let mut cases: Vec<Case> = NAME_SETS
        .iter()
        .map(|names| {
            let content = |name: &str| if name.is_empty() || name.ends_with('/') { Vec::new() } else { b"x".to_vec() };
            let files = names.iter().map(|name| file(name, &content(name))).collect();
            (format!("names {names:?}"), RawZip::of(files).bytes())
        })
        .collect();
    for name in [
        "m.go",
        "example.com/m@v1.0.1/a",
        "example.com/m/a",
        "example.com/M@v1.0.0/a",
        "example.com/m@v1.0.0",
        "/example.com/m@v1.0.0/a",
        "",
        "./example.com/m@v1.0.0/a",
        "example.com\\m@v1.0.0\\a",
        "example.com/m@v1.0.0a/b",
    ] {
        cases.push((format!("foreign name {name:?}"), RawZip::of(vec![RawFile::new(name, b"")]).bytes()));
    }
    for tail in [b"\xff".as_slice(), b"a\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xff/"] {
        let name = [PREFIX.as_bytes(), tail].concat();
        cases.push((format!("no UTF-8 {tail:?}"), RawZip::of(vec![RawFile { name, ..RawFile::default() }]).bytes()));
    }
    cases
}

/// Zips that differ by the fields of one file.
fn fields() -> Vec<Case> {
    let mut files = [sizes(), records(), wide_and_directories()].concat();
    // The limits of go.mod and LICENSE, and that others have none of their own.
    for (name, limit) in [("go.mod", 16 << 20), ("LICENSE", 16 << 20), ("other", 16 << 20)] {
        files.push(("real size at limit", file(name, &vec![b'\n'; limit]).deflated()));
        files.push(("real size over limit", file(name, &vec![b'\n'; limit + 1]).deflated()));
    }
    let mut cases: Vec<Case> =
        files.iter().map(|(name, file)| (format!("field: {name}"), RawZip::of(vec![file.clone()]).bytes())).collect();
    // The same defect between other files, where a wrong end does not meet the end of the zip.
    for (name, file) in files.iter().filter(|(_, file)| file.content.len() < 10_000) {
        let mut zip = plain();
        zip.files.insert(
            2,
            RawFile { name: [PREFIX.as_bytes(), b"z/", &file.name[PREFIX.len()..]].concat(), ..file.clone() },
        );
        cases.push((format!("field, among others: {name}"), zip.bytes()));
    }
    let twice = |first: RawFile, second: RawFile| RawZip::of(vec![first, second]).bytes();
    let full = RawFile { content: b"x".to_vec(), ..directory() };
    cases.push(("directory twice, first with content".to_owned(), twice(full.clone(), directory())));
    cases.push(("directory twice, last with content".to_owned(), twice(directory(), full)));
    let overlapping = RawFile { offset: Some(0), ..file("b", b"content") };
    cases.push(("two entries share their data".to_owned(), twice(stored(), overlapping)));
    let half = || RawFile { size: Some(260 << 20), ..file("a", b"") };
    let other = RawFile { name: format!("{PREFIX}b").into(), ..half() };
    cases.push(("sizes too large together".to_owned(), twice(half(), other)));
    cases
}

fn stored() -> RawFile {
    file("a", b"content")
}

fn deflated() -> RawFile {
    file("a", &[b'y'; 3000]).deflated()
}

fn directory() -> RawFile {
    file("a/", b"")
}

fn described(signed: bool, crc: Option<u32>) -> RawFile {
    RawFile { descriptor: Some(Descriptor { signed, crc }), ..stored() }
}

/// What the directory says of type, sizes and checksum.
fn sizes() -> Vec<(&'static str, RawFile)> {
    vec![
        ("symlink", RawFile { external: 0o120_777 << 16, ..stored() }),
        ("device", RawFile { external: 0o060_777 << 16, ..stored() }),
        ("encrypted flag", RawFile { flags: 1, ..stored() }),
        ("utf-8 flag", RawFile { flags: 0x800, ..stored() }),
        ("all other flags", RawFile { flags: 0xfff7, ..stored() }),
        ("crc wrong", RawFile { crc: Some(7), ..stored() }),
        ("crc zero", RawFile { crc: Some(0), ..stored() }),
        ("crc wrong, deflated", RawFile { crc: Some(7), ..deflated() }),
        ("crc zero, deflated", RawFile { crc: Some(0), ..deflated() }),
        ("size smaller", RawFile { size: Some(6), ..stored() }),
        ("size larger", RawFile { size: Some(8), ..stored() }),
        ("size zero", RawFile { size: Some(0), ..stored() }),
        ("size smaller, deflated", RawFile { size: Some(2999), ..deflated() }),
        ("size larger, deflated", RawFile { size: Some(3001), ..deflated() }),
        ("size huge", RawFile { size: Some(500 << 20), ..stored() }),
        ("size beyond", RawFile { size: Some((500 << 20) + 1), ..stored() }),
        ("size max", RawFile { size: Some(u32::MAX), ..stored() }),
        ("packed size smaller", RawFile { packed_size: Some(6), ..stored() }),
        ("packed size larger", RawFile { packed_size: Some(8), ..stored() }),
        ("packed size beyond", RawFile { packed_size: Some(1 << 30), ..stored() }),
        ("packed size max", RawFile { packed_size: Some(u32::MAX), ..stored() }),
        ("packed size smaller, deflated", RawFile { packed_size: Some(5), ..deflated() }),
        ("packed size less one, deflated", RawFile { packed_size: Some(deflated_len() - 1), ..deflated() }),
        ("packed size larger, deflated", RawFile { packed_size: Some(deflated_len() + 9), ..deflated() }),
        ("packed size beyond, deflated", RawFile { packed_size: Some(1 << 30), ..deflated() }),
        ("packed size zero, deflated", RawFile { packed_size: Some(0), ..deflated() }),
        ("empty, deflated", file("a", b"").deflated()),
        ("empty, packed size zero, deflated", RawFile { packed_size: Some(0), ..file("a", b"").deflated() }),
        ("empty, crc wrong", RawFile { crc: Some(5), ..file("a", b"") }),
    ]
}

/// What stands in the local header, behind the data, and around the fields.
fn records() -> Vec<(&'static str, RawFile)> {
    vec![
        ("stored called deflated", RawFile { method: Some(8), ..stored() }),
        ("deflated called stored", RawFile { method: Some(0), ..deflated() }),
        ("bzip2", RawFile { method: Some(12), ..stored() }),
        ("deflate64", RawFile { method: Some(9), ..deflated() }),
        ("zstd", RawFile { method: Some(93), ..stored() }),
        ("descriptor", described(true, None)),
        ("descriptor without signature", RawFile { descriptor: described(false, None).descriptor, ..deflated() }),
        ("descriptor crc wrong", described(true, Some(7))),
        ("descriptor crc wrong, no signature", described(false, Some(7))),
        ("descriptor crc zero", RawFile { crc: Some(0), ..described(true, Some(0)) }),
        ("descriptor crc not the directory's", RawFile { crc: Some(7), ..described(true, None) }),
        ("descriptor missing", RawFile { flags: 8, ..stored() }),
        ("offset wrong", RawFile { offset: Some(1), ..stored() }),
        ("offset beyond", RawFile { offset: Some(1 << 30), ..stored() }),
        ("offset max", RawFile { offset: Some(u32::MAX), ..stored() }),
        ("offset at the directory", RawFile { offset: Some(0x40), ..stored() }),
        ("local signature wrong", RawFile { local_signature: Some(*b"PK\x03\x05"), ..stored() }),
        ("local extra", RawFile { local_extra: vec![9; 40], ..stored() }),
        ("extra and comment", RawFile { extra: vec![9, 9, 1, 0, 5], comment: b"words".to_vec(), ..stored() }),
        ("extra too long", RawFile { extra: vec![9, 9, 200, 0, 5], ..stored() }),
        ("extra too short", RawFile { extra: vec![1, 0], ..stored() }),
    ]
}

/// Fields of 64 bits, and directories.
fn wide_and_directories() -> Vec<(&'static str, RawFile)> {
    vec![
        ("zip64 extra unneeded", RawFile { extra: zip64_extra(&[1, 2, 3]), ..stored() }),
        ("zip64 size", RawFile { size: Some(u32::MAX), extra: zip64_extra(&[7]), ..stored() }),
        (
            "zip64 sizes",
            RawFile { size: Some(u32::MAX), packed_size: Some(u32::MAX), extra: zip64_extra(&[7, 7]), ..stored() },
        ),
        (
            "zip64 sizes wrong",
            RawFile { size: Some(u32::MAX), packed_size: Some(u32::MAX), extra: zip64_extra(&[7, 6]), ..stored() },
        ),
        (
            "zip64 size missing",
            RawFile { size: Some(u32::MAX), packed_size: Some(u32::MAX), extra: zip64_extra(&[7]), ..stored() },
        ),
        ("zip64 size huge", RawFile { size: Some(u32::MAX), extra: zip64_extra(&[1 << 62]), ..stored() }),
        ("zip64 size negative", RawFile { size: Some(u32::MAX), extra: zip64_extra(&[u64::MAX]), ..stored() }),
        (
            "zip64 packed size negative",
            RawFile { packed_size: Some(u32::MAX), extra: zip64_extra(&[u64::MAX]), ..stored() },
        ),
        ("zip64 offset", RawFile { offset: Some(u32::MAX), extra: zip64_extra(&[0]), ..stored() }),
        ("zip64 offset negative", RawFile { offset: Some(u32::MAX), extra: zip64_extra(&[u64::MAX]), ..stored() }),
        (
            "zip64 twice",
            RawFile { size: Some(u32::MAX), extra: [zip64_extra(&[7]), zip64_extra(&[9])].concat(), ..stored() },
        ),
        ("zip64 empty", RawFile { size: Some(u32::MAX), extra: zip64_extra(&[]), ..stored() }),
        ("directory with content", RawFile { content: b"x".to_vec(), ..directory() }),
        ("directory with packed size", RawFile { packed_size: Some(5), ..directory() }),
        ("directory called deflated", RawFile { method: Some(8), ..directory() }),
        ("directory of unknown method", RawFile { method: Some(99), ..directory() }),
        ("directory offset beyond", RawFile { offset: Some(1 << 30), ..directory() }),
        ("directory local signature wrong", RawFile { local_signature: Some([0; 4]), ..directory() }),
        ("root with content", file("", b"x")),
    ]
}

fn deflated_len() -> u32 {
    let file = file("a", &[b'y'; 3000]).deflated();
    let with = RawZip::of(vec![file.clone()]).bytes().len();
    let without = RawZip::of(vec![RawFile { content: Vec::new(), deflated: false, ..file }]).bytes().len();
    u32::try_from(with - without).expect("compressed is small")
}

/// Zips that differ by their end records and by what stands around them.
fn ends() -> Vec<Case> {
    let max = u32::MAX;
    let zip64 = Zip64 { disks: 1, ..Zip64::default() };
    let marked =
        |zip64: Zip64| RawZip { zip64: Some(zip64), entries: Some(0xffff), directory_offset: Some(max), ..plain() };
    let header = plain().bytes();
    let directory = header.windows(4).position(|bytes| bytes == b"PK\x01\x02").expect("a directory");
    let zips = [
        ("comment", RawZip { comment: b"words".to_vec(), ..plain() }),
        ("long comment", RawZip { comment: vec![b'c'; 60_000], ..plain() }),
        ("longest comment", RawZip { comment: vec![b'c'; 65_535], ..plain() }),
        ("comment beyond 1 KiB", RawZip { comment: vec![b'c'; 1000], ..plain() }),
        ("comment with signature", RawZip { comment: b"PK\x05\x06".to_vec(), ..plain() }),
        ("comment with end record", RawZip { comment: RawZip::default().bytes(), ..plain() }),
        ("comment truncated", RawZip { comment_len: Some(9), ..plain() }),
        ("comment longer", RawZip { comment: b"words".to_vec(), comment_len: Some(2), ..plain() }),
        ("bytes behind", RawZip { after: b"xx".to_vec(), ..plain() }),
        ("many bytes behind", RawZip { after: vec![0; 66_000], ..plain() }),
        ("bytes before, shifted", RawZip { before: b"#!/bin/sh\n".to_vec(), shifted: true, ..plain() }),
        ("bytes before, counted", RawZip { before: b"#!/bin/sh\n".to_vec(), ..plain() }),
        ("bytes between", RawZip { between: b"between".to_vec(), ..plain() }),
        ("a whole zip before, shifted", RawZip { before: header.clone(), shifted: true, ..plain() }),
        ("a whole zip behind", RawZip { after: plain().bytes(), ..plain() }),
        ("one entry too few", RawZip { entries: Some(4), ..plain() }),
        ("one entry too many", RawZip { entries: Some(6), ..plain() }),
        ("no entries claimed", RawZip { entries: Some(0), ..plain() }),
        ("65535 entries claimed", RawZip { entries: Some(0xffff), ..plain() }),
        ("directory size zero", RawZip { directory_size: Some(0), ..plain() }),
        ("directory size less one", RawZip { directory_size: Some(100), ..plain() }),
        ("directory size max", RawZip { directory_size: Some(max), ..plain() }),
        ("directory size of 16 bits", RawZip { directory_size: Some(0xffff), ..plain() }),
        ("directory offset zero", RawZip { directory_offset: Some(0), ..plain() }),
        ("directory offset less one", RawZip { directory_offset: Some(low(directory) - 1), ..plain() }),
        ("directory offset plus one", RawZip { directory_offset: Some(low(directory) + 1), ..plain() }),
        ("directory offset beyond", RawZip { directory_offset: Some(1 << 30), ..plain() }),
        ("directory offset max", RawZip { directory_offset: Some(max), ..plain() }),
        ("zip64", marked(zip64)),
        ("zip64 not needed", RawZip { zip64: Some(zip64), ..plain() }),
        ("zip64 of no disk", marked(Zip64 { disks: 0, ..zip64 })),
        ("zip64 entries wrong", marked(Zip64 { entries: Some(6), ..zip64 })),
        ("zip64 entries, high bits", marked(Zip64 { entries: Some(5 | 1 << 40), ..zip64 })),
        ("zip64 entries max", marked(Zip64 { entries: Some(u64::MAX), ..zip64 })),
        ("zip64 size max", marked(Zip64 { directory_size: Some(u64::MAX), ..zip64 })),
        ("zip64 size large", marked(Zip64 { directory_size: Some(1 << 62), ..zip64 })),
        ("zip64 offset max", marked(Zip64 { directory_offset: Some(u64::MAX), ..zip64 })),
        ("zip64 offset large", marked(Zip64 { directory_offset: Some(1 << 62), ..zip64 })),
        ("zip64 locator wrong", marked(Zip64 { locator: Some(0), ..zip64 })),
        ("zip64 locator beyond", marked(Zip64 { locator: Some(1 << 40), ..zip64 })),
        ("zip64 locator negative", marked(Zip64 { locator: Some(u64::MAX), ..zip64 })),
    ];
    zips.iter().map(|(name, zip)| (format!("end: {name}"), zip.bytes())).collect()
}

fn low(value: usize) -> u32 {
    u32::try_from(value).expect("test zips are small")
}
