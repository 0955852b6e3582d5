//! What `modtier-center publish` packs against Go: `zip.CreateFromDir` on generated trees, and the `go` command itself on tags.

use std::path::Path;

use modtier_tests::oracle::{Answer, Oracle, Question};
use modtier_tests::{GoClient, Seed};
use serde_json::Value;

use super::shell::{Said, center, git, write};

/// Trees that are compared with Go's verdict.
const TREES: usize = 120;

#[test]
fn a_tree_becomes_the_zip_that_go_makes() {
    let mut seed = Seed::announced("packing");
    let mut oracle = Oracle::start();
    let root = oracle.dir();
    let zip = root.join("go.zip").display().to_string();
    let (mut accepted, mut differing) = (0, Vec::new());
    for number in 0..TREES {
        let dir = root.join(format!("tree-{number}"));
        plant(&dir, &mut seed);
        let dir = dir.display().to_string();
        let args = ["example.com/m", "v1.2.3", &dir, &zip].map(str::to_owned).to_vec();
        let answer = oracle.ask(&[Question { op: "zip_from_dir", args }]).remove(0);
        let said = center(&["publish", &dir, "v1.2.3", "--dry-run"], &[]);
        accepted += usize::from(answer.ok);
        if !agrees(&answer, &said) {
            differing.push(format!("{dir}: ours {said:?}, Go's {answer:?}\n{}", listing(Path::new(&dir))));
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(accepted * 5 > TREES && accepted < TREES, "{accepted} of {TREES} accepted: one verdict is too rare");
}

fn agrees(answer: &Answer, said: &Said) -> bool {
    let line = format!("example.com/m v1.2.3 {}\n", answer.result);
    if answer.ok { said.code == 0 && said.out.starts_with(&line) } else { said.code == 1 && said.out.is_empty() }
}

fn listing(dir: &Path) -> String {
    let output = std::process::Command::new("find").arg(dir).output().expect("find");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A tree with some of everything that the rules are about.
fn plant(dir: &Path, seed: &mut Seed) {
    let language = seed.choice(&["", "go 1.16\n", "go 1.23.4\n", "go 1.24rc1\n", "go 1.25\n"]);
    write(dir, "go.mod", &format!("module example.com/m\n\n{language}"));
    for number in 0..seed.within(0..14) {
        let mut name = String::new();
        for _ in 0..seed.within(0..4) {
            name += seed.choice(&["a", "b", "vendor", "sub", "Ünï", "x.y", "internal", ".hidden"]);
            name.push('/');
        }
        let ordinary = ["m.go", "go.mod", "modules.txt", "LICENSE", "n.go", "漢.txt", "vendor.go", "vendor", "a"];
        let odd = ["GO.MOD", "M.go", ".hg_archival.txt", "aux", "a*b", "q?", "back\\slash", "dot.", "k", "\u{212A}"];
        name += if seed.within(0..12) == 0 { seed.choice(&odd) } else { seed.choice(&ordinary) };
        let file = dir.join(&name);
        // What a name of before stands in the way of is left away.
        if file.exists() || std::fs::create_dir_all(file.parent().expect("below the tree")).is_err() {
            continue;
        }
        let _ = match seed.within(0..16) {
            0 => std::os::unix::fs::symlink("m.go", &file),
            1 => std::fs::create_dir(&file),
            2 => std::fs::create_dir(file.with_file_name(seed.choice(&[".git", ".hg", ".svn", ".bzr"])))
                .and_then(|()| std::fs::write(&file, "beside")),
            _ => std::fs::write(&file, "content ".repeat(usize::try_from(number).expect("a small number"))),
        };
    }
}

/// The repository of the test, with its tags.
fn repository(dir: &Path) {
    let commit = |message: &str, tags: &[&str]| {
        git(dir, &["add", "--all"]);
        git(dir, &["commit", "--quiet", "--allow-empty", "-m", message]);
        for tag in tags {
            git(dir, &["tag", "-a", "-m", "tag", tag]);
        }
    };
    git(dir, &["init", "--quiet", "--initial-branch=main", "."]);
    write(dir, "old.go", "package repo\n");
    commit("before modules", &["v0.0.1", "v2.0.0"]);
    write(dir, "go.mod", "module corp.example/repo.git\n\ngo 1.24\n");
    write(dir, "LICENSE", "the repository's licence\n");
    write(dir, ".gitattributes", "*.txt text eol=crlf\nignored export-ignore\nsubst.go export-subst\n");
    write(dir, "words.txt", "one\ntwo\n");
    write(dir, "ignored", "attributes must not leave this out\n");
    write(dir, "subst.go", "package repo // $Format:%H$\n");
    write(dir, "vendor/modules.txt", "# none\n");
    write(dir, "vendor/x.example/y/y.go", "package y\n");
    write(dir, "Ünï/a.go", "package a\n");
    std::os::unix::fs::symlink("old.go", dir.join("link.go")).expect("the test's folder is writable");
    write(dir, "sub/go.mod", "module corp.example/repo.git/sub\n\ngo 1.20\n");
    write(dir, "sub/sub.go", "package sub\n");
    write(dir, "sub/deep/go.mod", "module corp.example/repo.git/sub/deep\n");
    write(dir, "sub/deep/deep.go", "package deep\n");
    write(dir, "sub/deep/LICENSE", "a licence of its own\n");
    commit("modules", &["v0.1.0", "sub/v1.2.3", "sub/deep/v0.3.0-rc.1"]);
    write(dir, "v3/go.mod", "module corp.example/repo.git/v3\n");
    write(dir, "v3/three.go", "package three\n");
    write(dir, "sub/v2/go.mod", "module corp.example/repo.git/sub/v2\n");
    write(dir, "sub/v2/two.go", "package two\n");
    commit("major versions in folders", &["v3.1.0", "sub/v2.0.1"]);
    write(dir, "go.mod", "module corp.example/repo.git/v4\n");
    commit("a major version at the root", &["v4.0.0"]);
}

#[tokio::test]
async fn a_tag_becomes_the_module_that_the_go_command_makes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("repo");
    std::fs::create_dir(&dir).unwrap();
    repository(&dir);
    // The working tree is not what is published.
    write(&dir, "uncommitted.go", "package repo\n");
    write(&dir, "sub/sub.go", "package changed\n");
    write(
        folder.path(),
        "gitconfig",
        &format!("[url \"{}/\"]\n\tinsteadOf = https://corp.example/\n", folder.path().display()),
    );
    let go = GoClient::new("direct")
        .env("GOPRIVATE", "*")
        .env("GIT_CONFIG_GLOBAL", &folder.path().join("gitconfig").display().to_string());
    for (place, module, version) in [
        (".", "", "v0.0.1"),
        (".", "", "v2.0.0+incompatible"),
        (".", "", "v0.1.0"),
        ("sub", "/sub", "v1.2.3"),
        ("sub/deep", "/sub/deep", "v0.3.0-rc.1"),
        (".", "/v3", "v3.1.0"),
        ("v3", "/v3", "v3.1.0"),
        ("sub", "/sub/v2", "v2.0.1"),
        ("sub/v2", "/sub/v2", "v2.0.1"),
        (".", "/v4", "v4.0.0"),
    ] {
        let module = format!("corp.example/repo.git{module}");
        let output = go.ok(&["mod", "download", "-json", &format!("{module}@{version}")]).await.stdout;
        let known: Value = serde_json::from_str(&output).unwrap();
        let place = dir.join(place).display().to_string();
        // A module without a go.mod must be named.
        let named: &[&str] =
            if version.contains("incompatible") || version == "v0.0.1" { &["--module", &module] } else { &[] };
        let said = center(&[&["publish", &place, version, "--tag", "--dry-run"], named].concat(), &[]);
        let sums = [("", "Sum"), ("/go.mod", "GoModSum")];
        let expected =
            sums.map(|(suffix, key)| format!("{module} {version}{suffix} {}\n", known[key].as_str().unwrap()));
        assert_eq!(said.out, expected.concat(), "{place} {version}: {}", said.err);
    }
    let commit = git(&dir, &["rev-parse", "v0.1.0^{commit}"]);
    let place = dir.display().to_string();
    let tagged = center(&["publish", &place, "v0.1.0", "--tag", "--dry-run"], &[]);
    let named = center(&["publish", &place, "v0.1.0", "--rev", commit.trim(), "--dry-run"], &[]);
    assert_eq!(tagged.out, named.out, "{}", named.err);
}

#[test]
fn what_cannot_be_a_module_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("repo");
    std::fs::create_dir(&dir).unwrap();
    repository(&dir);
    let root = dir.display().to_string();
    let sub = dir.join("sub").display().to_string();
    for (args, reason) in [
        (vec![root.as_str(), "v1.2"], "v1.2"),
        (vec![&root, "v1.0.0"], "should be v4"),
        (vec![&sub, "v1.2.3", "--module", "corp.example/other"], "not \"corp.example/other\""),
        (vec![&root, "v9.9.9", "--tag"], "no tag v9.9.9"),
        (vec![&sub, "v1.9.9", "--tag"], "no tag sub/v1.9.9"),
        (vec![&root, "v0.0.1", "--tag"], "--module"),
        (vec![&root, "v1.0.0", "--rev=-h"], "no commit"),
        (vec!["/nonexistent", "v1.0.0"], "/nonexistent"),
    ] {
        let said = center(&[&["publish", "--dry-run"], args.as_slice()].concat(), &[]);
        assert!(said.code != 0 && said.out.is_empty() && said.err.contains(reason), "{args:?}: {said:?}");
    }
    write(&dir, "aux", "a name that no Windows has\n");
    write(&dir, "go.mod", "module corp.example/repo.git\n");
    let said = center(&["publish", &root, "v1.0.0", "--dry-run"], &[]);
    assert!(said.code == 1 && said.err.contains("aux: "), "{said:?}");
}
