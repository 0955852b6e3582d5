//! Wrong configurations, ports and directories, as the three real binaries answer them.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use modtier_tests::binary;
use tempfile::TempDir;

const BINARIES: [&str; 3] = ["edge", "center", "syncer"];

/// A run of a binary to its end, with nothing of ours in its environment but what is given.
fn run(name: &str, args: &[&str], env: &[(String, String)]) -> Output {
    let mut command = Command::new(binary(name));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MODTIER_")) {
        command.env_remove(name);
    }
    command.envs(env.iter().map(|(name, value)| (name, value))).output().expect("the binary can be started")
}

fn variable(name: &str, path: &str, value: &str) -> (String, String) {
    (format!("MODTIER_{}_{path}", name.to_uppercase()), value.to_owned())
}

fn write(folder: &TempDir, text: &str) -> String {
    let file = folder.path().join("given.yaml");
    std::fs::write(&file, text).expect("the temporary directory is writable");
    file.display().to_string()
}

/// The run ended with this code, and its last line on stderr says what is wrong; nothing panicked.
fn refused(name: &str, output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{name}: {text}");
    let line = text.lines().last().unwrap_or_default();
    assert!(line.starts_with(&format!("modtier-{name}: ")), "{name}: {text}");
    for word in words {
        assert!(line.contains(word), "{name}: no {word:?} in {text}");
    }
    for word in ["panicked", "backtrace", "stack"] {
        assert!(!text.contains(word), "{name}: {text}");
    }
}

fn check(name: &str, text: &str, env: &[(String, String)]) -> Output {
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    run(name, &["--check-config", "--config", &write(&folder, text)], env)
}

#[test]
fn the_defaults_and_an_empty_file_are_valid() {
    for name in BINARIES {
        for output in [run(name, &["--check-config"], &[]), check(name, "", &[])] {
            assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "configuration is valid\n", "{name}");
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known() {
    for name in BINARIES {
        let words = ["given.yaml", "unknown key \"log.formt\"", "did you mean \"log.format\"?"];
        refused(name, &check(name, "log: {formt: json}\n", &[]), 2, &words);
    }
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_known() {
    for name in BINARIES {
        let (wrong, value) = variable(name, "LOG_FORMT", "json");
        let known = variable(name, "LOG_FORMAT", "").0;
        let words = [format!("unknown variable {wrong}"), format!("did you mean {known}?")];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        refused(name, &check(name, "", &[(wrong, value)]), 2, &words);
    }
}

#[test]
fn a_bad_value_is_named_by_key_or_variable() {
    for name in BINARIES {
        let file = check(name, "log: {format: xml}\n", &[]);
        refused(name, &file, 2, &["given.yaml", "\"log.format\"", "human, json", "\"xml\""]);
        let level = check(name, "log: {level: loud}\n", &[]);
        refused(name, &level, 2, &["given.yaml", "\"log.level\"", "loud"]);
        let set = variable(name, "LOG_FORMAT", "xml");
        refused(name, &check(name, "", std::slice::from_ref(&set)), 2, &[&set.0, "human, json", "\"xml\""]);
    }
}

#[test]
fn a_file_that_cannot_be_read_as_yaml_is_named() {
    for name in BINARIES {
        refused(name, &check(name, "log: {format: json}\nlog: {format: json}\n", &[]), 2, &["given.yaml", "duplicate"]);
        refused(name, &check(name, "log: [\n", &[]), 2, &["given.yaml", "line"]);
        refused(
            name,
            &run(name, &["--check-config", "--config", "/nonexistent/a.yaml"], &[]),
            2,
            &["/nonexistent/a.yaml"],
        );
    }
}

#[test]
fn a_variable_wins_over_the_file() {
    for name in BINARIES {
        let output = check(name, "log: {format: xml}\n", &[variable(name, "LOG_FORMAT", "json")]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "configuration is valid\n", "{name}");
    }
}

#[test]
fn the_reference_and_the_schema_are_printed() {
    for name in BINARIES {
        let page = run(name, &["--print-config-reference"], &[]);
        let row =
            format!("| `log.format` | `MODTIER_{}_LOG_FORMAT` | `human` or `json` | `human` |", name.to_uppercase());
        let text = String::from_utf8_lossy(&page.stdout);
        assert!(page.status.success() && text.contains(&row), "{name}: {text}");
        let schema = run(name, &["--print-config-schema"], &[]);
        let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).expect("the schema is JSON");
        assert!(schema["properties"]["log"]["properties"]["format"].is_object(), "{name}");
    }
}

/// Addresses and directories with which a binary starts anywhere.
fn startable(name: &str, data: &Path) -> Vec<(String, String)> {
    let data = variable(name, "DATA_DIR", &data.display().to_string());
    match name {
        "edge" => vec![variable(name, "LISTEN", "127.0.0.1:0"), variable(name, "ADMIN", "127.0.0.1:0"), data],
        "center" => vec![variable(name, "LISTEN", "127.0.0.1:0"), data],
        other => vec![variable(other, "ADMIN", "127.0.0.1:0")],
    }
}

fn start(name: &str, env: &[(String, String)]) -> Output {
    let args: &[&str] = if name == "syncer" { &["run"] } else { &[] };
    run(name, args, env)
}

#[test]
fn an_occupied_port_is_named() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = held.local_addr().expect("a bound listener has an address").to_string();
    for (name, listener) in [("edge", "LISTEN"), ("edge", "ADMIN"), ("center", "LISTEN"), ("syncer", "ADMIN")] {
        let data = tempfile::tempdir().expect("the temporary directory is writable");
        let mut env = startable(name, &data.path().join("data"));
        env.push(variable(name, listener, &address));
        refused(name, &start(name, &env), 1, &[&address]);
    }
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    for name in ["edge", "center"] {
        let folder = tempfile::tempdir().expect("the temporary directory is writable");
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way").expect("the temporary directory is writable");
        // Below a file no directory can be, not even for root.
        let data = file.join("data");
        refused(name, &start(name, &startable(name, &data)), 1, &[&data.display().to_string()]);
    }
}

#[test]
fn the_syncer_says_what_it_can_do() {
    refused("syncer", &run("syncer", &[], &[]), 2, &["run", "once"]);
    refused("syncer", &run("syncer", &["once", "--go-sum", "/nonexistent/go.sum"], &[]), 2, &["/nonexistent/go.sum"]);
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let file = folder.path().join("go.sum");
    std::fs::write(&file, "example.com/a v1.0.0 h1:x\n").expect("the temporary directory is writable");
    let file = file.display().to_string();
    refused("syncer", &run("syncer", &["once", "--go-sum", &file], &[]), 2, &["go.sum:1: ", "h1:x"]);
}
