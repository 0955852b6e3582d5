//! `modtier-center …` as typed into a shell.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use modtier_tests::command_line;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

/// Runs `modtier-center` with these arguments and variables, and a home without a `.netrc`.
pub(crate) fn center<A: AsRef<OsStr>>(args: &[A], env: &[(&str, &str)]) -> Said {
    let mut command = command_line("center");
    command.args(args).env("HOME", "/nonexistent").envs(env.iter().copied());
    let output = command.output().expect("the center's binary can be run");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs git in a folder, with an identity and no settings of this machine.
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "a"),
        ("GIT_AUTHOR_EMAIL", "a@corp.example"),
        ("GIT_COMMITTER_NAME", "a"),
        ("GIT_COMMITTER_EMAIL", "a@corp.example"),
    ] {
        command.env(name, value);
    }
    let output = command.args(args).current_dir(dir).output().expect("git, which this test needs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes a file and the folders above it.
pub(crate) fn write(dir: &Path, name: &str, content: &str) {
    let file = dir.join(name);
    std::fs::create_dir_all(file.parent().expect("below the folder")).expect("the test's folder is writable");
    std::fs::write(file, content).expect("the test's folder is writable");
}
