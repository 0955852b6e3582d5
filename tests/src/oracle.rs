//! The Go library's own answers: builds and runs `tests/oracle`, a program around `golang.org/x/mod`.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

/// An operation of the oracle and its arguments; `tests/oracle/operations.go` lists them.
#[derive(Debug, Clone, Serialize)]
pub struct Question {
    /// The operation's name.
    pub op: &'static str,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What Go says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// The verdict.
    pub ok: bool,
    /// The result; empty where the verdict is bad or the operation has none.
    pub result: String,
    /// Go's reason for a bad verdict.
    #[serde(default)]
    pub error: String,
}

/// A running oracle.
#[derive(Debug)]
pub struct Oracle {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Oracle {
    /// Builds the program with the machine's `go` and starts it.
    ///
    /// # Panics
    /// If `go` is missing or the program does not build: a comparison that does not take place must not pass.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let program = dir.path().join("oracle");
        let source = crate::workspace().join("tests/oracle");
        let built = Command::new("go")
            .args(["build", "-mod=readonly", "-buildvcs=false", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(source)
            .env("GOWORK", "off")
            .env("GOFLAGS", "")
            .output()
            .expect("the go command, which this test needs");
        assert!(built.status.success(), "go build of the oracle: {}", String::from_utf8_lossy(&built.stderr));
        let mut process = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the oracle, which has just been built");
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("standard output is piped"));
        Self { process, questions, answers, dir }
    }

    /// A directory that lives as long as the oracle, for the files that questions name.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Asks all questions at once; the answers come in the same order.
    ///
    /// # Panics
    /// If the oracle stops answering.
    pub fn ask(&mut self, questions: &[Question]) -> Vec<Answer> {
        let to = self.questions.as_mut().expect("standard input is open until the oracle is dropped");
        let answers = &mut self.answers;
        std::thread::scope(|scope| {
            // Writing and reading at the same time: neither pipe may fill up while the other is waited for.
            scope.spawn(|| {
                let mut writer = BufWriter::new(to);
                for question in questions {
                    serde_json::to_writer(&mut writer, question).expect("the oracle reads questions");
                    writer.write_all(b"\n").expect("the oracle reads questions");
                }
                writer.write_all(b"{\"op\":\"flush\"}\n").expect("the oracle reads questions");
                writer.flush().expect("the oracle reads questions");
            });
            let mut line = String::new();
            let mut next = |question: &Question| {
                line.clear();
                let read = answers.read_line(&mut line).expect("the oracle answers in UTF-8");
                assert!(read > 0, "the oracle stopped at {question:?}; its reason is on standard error");
                serde_json::from_str(&line).expect("an answer is a line of JSON")
            };
            questions.iter().map(&mut next).collect()
        })
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.questions.take());
        let _ = self.process.wait();
    }
}
