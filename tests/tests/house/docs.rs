//! What is written about the code must be true of it, and the code must keep to the style that was agreed.

use std::path::{Path, PathBuf};
use std::process::Command;

use modtier_tests::{binary, public_mirror, workspace};

const FILE_LINES_MAX: usize = 450;
const FUNCTION_LINES_MAX: usize = 90;
const NAMES_BANNED: [&str; 5] = ["util", "helper", "manager", "common", "misc"];

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files that git tracks or would track.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace())
        .output();
    let listed = String::from_utf8(output.expect("git is needed").stdout).unwrap();
    let files: Vec<_> =
        listed.split_terminator('\0').map(PathBuf::from).filter(|path| workspace().join(path).is_file()).collect();
    assert!(files.len() > 20, "git lists only {} files", files.len());
    files
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| (path.clone(), std::fs::read_to_string(workspace().join(path)).unwrap())).collect()
}

/// Paths in backticks that end in `.rs`.
fn named_files(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| Path::new(text).extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn the_pages_name_only_files_that_exist() {
    for (page, at_least) in [("docs/life-of-a-request.md", 8), ("ARCHITECTURE.md", 0)] {
        let text = read(page);
        let named = named_files(&text);
        let missing: Vec<_> = named.iter().filter(|name| !workspace().join(name).is_file()).collect();
        assert!(missing.is_empty(), "{page} names files that do not exist: {missing:?}");
        assert!(named.len() >= at_least, "{page} names only {} files: a request cannot be followed", named.len());
    }
}

#[test]
fn links_of_the_pages_lead_somewhere() {
    let pages = files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut broken = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(workspace().join(&page)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let is_local = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_local && !workspace().join(&page).parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn the_reference_of_the_configuration_is_what_the_binaries_say() {
    for name in ["edge", "center", "syncer"] {
        let output = Command::new(binary(name)).arg("--print-config-reference").output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let page = format!("docs/configuration/{name}.md");
        assert!(
            read(&page) == String::from_utf8_lossy(&output.stdout),
            "{page} is not what modtier-{name} prints: run `make docs`"
        );
    }
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<_> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            wrong.push(format!("{}: {} lines, at most {FILE_LINES_MAX}", path.display(), lines.len()));
        }
        for (first, len) in functions(&lines) {
            if len > FUNCTION_LINES_MAX {
                wrong.push(format!(
                    "{}:{}: a function of {len} lines, at most {FUNCTION_LINES_MAX}",
                    path.display(),
                    first + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// First line and length of each function, by rustfmt's indentation.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern"];
    let begins = |line: &str| {
        let before = line.split_once("fn ").map(|(before, _)| before);
        before.is_some_and(|before| before.split_whitespace().all(|word| qualifiers.contains(&word)))
            && !line.ends_with(';')
    };
    let ends = |from: usize| {
        let indent = &lines[from][..lines[from].len() - lines[from].trim_start().len()];
        lines[from..].iter().position(|line| line.trim_end() == format!("{indent}}}"))
    };
    let opened = (0..lines.len()).filter(|&index| begins(lines[index]) && !lines[index].ends_with('}'));
    opened.filter_map(|index| ends(index).map(|len| (index, len + 1))).collect()
}

#[test]
fn the_length_of_a_function_is_measured_rightly() {
    let text = "impl A {\n    pub(crate) fn a(\n        self,\n    ) -> u8 {\n        1\n    }\n\n    fn b() {}\n}\n\nasync fn c() {\n}\n";
    assert_eq!(functions(&text.lines().collect::<Vec<_>>()), [(1, 5), (10, 2)]);
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().trim_end_matches('s').to_owned();
            let folder = path
                .parent()
                .and_then(Path::file_name)
                .unwrap_or_default()
                .to_string_lossy()
                .trim_end_matches('s')
                .to_owned();
            NAMES_BANNED.contains(&stem.as_str()) || NAMES_BANNED.contains(&folder.as_str())
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn nothing_is_left_open_or_switched_off_in_the_code() {
    // Put together here so that this file does not hold what it looks for.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("allow(dead", "_code"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| marks.iter().any(|mark| line.contains(mark))) {
            wrong.push(format!("{}:{}: {}", path.display(), index + 1, line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn no_tracked_file_holds_the_name_of_this_machines_mirror() {
    let mirror = public_mirror().await;
    let host = mirror.split("://").nth(1).unwrap().split(['/', ':']).next().unwrap().to_owned();
    let holds = |path: &PathBuf| {
        std::fs::read(workspace().join(path)).is_ok_and(|text| String::from_utf8_lossy(&text).contains(&host))
    };
    // A server on this machine is no registry, and its name stands in every test.
    let is_local = host == "localhost" || host.starts_with("127.");
    let wrong: Vec<_> = files().into_iter().filter(|path| !is_local && holds(path)).collect();
    assert!(wrong.is_empty(), "the mirror that `go env GOPROXY` names stands in {wrong:?}");
}
