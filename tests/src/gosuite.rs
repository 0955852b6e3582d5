//! The Go team's own script tests of `cmd/go`, run through a proxy.
//!
//! The suite brings a module proxy and a checksum database of its own. Copies of its test files, taken from this machine's
//! GOROOT when the test runs, are patched so that the suite's proxy listens where our center expects its upstream, and so that
//! the scripts use our edge as GOPROXY. Each place that is patched must be found exactly once: another Go version fails loudly.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{plain_env, workspace};

/// How the suite is run.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Where patched files, the test binary and logs go.
    pub dir: PathBuf,
    /// `host:port` where the suite's own proxy listens; its base is `http://host:port/mod`.
    pub upstream: String,
    /// The GOPROXY of the scripts; without one they use the suite's own proxy, which shows that they pass at all.
    pub goproxy: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Scripts that passed.
    pub passed: Vec<String>,
    /// Scripts that failed.
    pub failed: Vec<String>,
    /// Scripts that were skipped: something they need is not installed.
    pub skipped: Vec<String>,
    /// The suite's output.
    pub log: String,
    /// One line for each request that reached the suite's own proxy.
    pub upstream_requests: Vec<String>,
}

/// The checksum database that the suite serves.
pub const SUMDB: &str = "localhost.localdev/sumdb";

/// The names of the scripts: those of `cmd/go` that reach a proxy.
pub fn scripts() -> Vec<String> {
    let text = include_str!("../gosuite/scripts.txt");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

impl Suite {
    /// Patches, compiles and runs the suite. Blocks for minutes.
    ///
    /// # Panics
    /// When Go is missing or its test files are not the ones that are known here.
    pub fn run(&self) -> Verdict {
        let command_source = goroot().join("src/cmd/go");
        self.patch(&command_source);
        let binary = self.compile(&command_source);
        let list = scripts().join("|");
        let requests = self.dir.join("upstream.log");
        let mut suite = go_command(&binary, &command_source);
        suite.args(["-test.v", "-test.timeout", "15m", "-test.parallel", "3", "-test.run"]);
        suite.arg(format!("^TestScript$/^({list})$"));
        suite.env("MODTIER_SUITE_UPSTREAM", &self.upstream).env("MODTIER_SUITE_LOG", &requests);
        if let Some(goproxy) = &self.goproxy {
            suite.env("MODTIER_SUITE_GOPROXY", goproxy);
        }
        let output = suite.output().expect("the compiled suite can be run");
        let log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let upstream_requests =
            std::fs::read_to_string(requests).unwrap_or_default().lines().map(str::to_owned).collect();
        Verdict {
            passed: named(&log, "PASS"),
            failed: named(&log, "FAIL"),
            skipped: named(&log, "SKIP"),
            log,
            upstream_requests,
        }
    }

    fn patch(&self, source: &Path) {
        let mut replace = serde_json::Map::new();
        for (name, changes) in PATCHES {
            let mut text = std::fs::read_to_string(source.join(name)).expect("GOROOT holds the tests of cmd/go");
            for (old, new) in *changes {
                let found = text.matches(old).count();
                assert_eq!(
                    found, 1,
                    "{name} of this Go version holds {old:?} {found} times: the patch must be looked at"
                );
                text = text.replacen(old, new, 1);
            }
            self.overlay(&mut replace, source, name, &text);
        }
        self.overlay(&mut replace, source, "modtier_test.go", include_str!("../gosuite/modtier_test.go.txt"));
        let overlay = serde_json::json!({ "Replace": replace }).to_string();
        std::fs::write(self.dir.join("overlay.json"), overlay).expect("the test's folder is writable");
    }

    fn overlay(&self, replace: &mut serde_json::Map<String, serde_json::Value>, source: &Path, name: &str, text: &str) {
        let copy = self.dir.join(name);
        std::fs::write(&copy, text).expect("the test's folder is writable");
        replace.insert(source.join(name).display().to_string(), copy.display().to_string().into());
    }

    fn compile(&self, source: &Path) -> PathBuf {
        let binary = self.dir.join("suite.test");
        let mut compile = go_command(Path::new("go"), source);
        compile.args(["test", "-overlay"]).arg(self.dir.join("overlay.json")).args(["-c", "-o"]).arg(&binary).arg(".");
        let output = compile.output().expect("the go command is needed");
        assert!(output.status.success(), "the suite does not compile:\n{}", String::from_utf8_lossy(&output.stderr));
        binary
    }
}

impl Verdict {
    /// Listed scripts of which nothing is known: neither passed nor failed nor skipped.
    pub fn unfinished(&self) -> Vec<String> {
        let known =
            |name: &String| [&self.passed, &self.failed, &self.skipped].into_iter().any(|list| list.contains(name));
        scripts().into_iter().filter(|name| !known(name)).collect()
    }

    /// The part of the suite's output that belongs to a failed script.
    pub fn log_of(&self, script: &str) -> String {
        let begin = format!("--- FAIL: TestScript/{script} ");
        let lines = self.log.lines().skip_while(|line| !line.trim_start().starts_with(&begin));
        let (first, rest): (Vec<_>, Vec<_>) = lines.enumerate().partition(|(index, _)| *index == 0);
        let rest = rest.into_iter().map(|(_, line)| line).take_while(|line| !line.trim_start().starts_with("--- "));
        first.into_iter().map(|(_, line)| line).chain(rest).collect::<Vec<_>>().join("\n")
    }
}

type Patch = (&'static str, &'static [(&'static str, &'static str)]);

/// File, and in it what is replaced by what.
const PATCHES: &[Patch] = &[
    (
        "proxy_test.go",
        &[
            (r#"addr = "localhost:0""#, "addr = modtierUpstream()"),
            ("http.HandlerFunc(proxyHandler)", "modtierLogged(proxyHandler)"),
        ],
    ),
    ("script_test.go", &[(r#""GOPROXY=" + proxyURL,"#, r#""GOPROXY=" + modtierGoproxy(),"#)]),
];

fn goroot() -> PathBuf {
    let output =
        Command::new("go").args(["env", "GOROOT"]).current_dir(workspace()).output().expect("the go command is needed");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// A command in `dir` without Go settings from outside: they would reach the scripts.
fn go_command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .env_clear()
        .envs(plain_env())
        .env("GOENV", "off")
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null());
    command
}

fn named(log: &str, verdict: &str) -> Vec<String> {
    let begin = format!("--- {verdict}: TestScript/");
    let names = log.lines().filter_map(|line| line.trim_start().strip_prefix(&begin));
    names.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
}
