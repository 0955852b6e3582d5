//! Running a program that is not to be trusted with time, memory or words: limits, a process group of its own, bounded output.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::sealed::Confinement;

/// Largest standard output in bytes: a list of versions.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;
/// How much of standard error is kept, in bytes.
const ERRORS_BYTES_MAX: u64 = 1 << 20;

/// A program to be run.
pub(super) struct Sealed {
    /// The program, found in PATH unless it is a path.
    pub(super) program: OsString,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Its whole environment.
    pub(super) environment: Vec<(String, OsString)>,
    /// Where it runs.
    pub(super) folder: PathBuf,
    /// What it reads.
    pub(super) input: Bytes,
    /// The one port to which it may connect, and what is done where the kernel cannot see to that.
    pub(super) way_out: Option<(u16, Confinement)>,
    /// What it may take.
    pub(super) limits: Limits,
}

/// What a program may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Time, all in all.
    pub(super) time: Duration,
    /// Address space of each process, in bytes.
    pub(super) memory_bytes: u64,
    /// Size of each file it writes, in bytes.
    pub(super) file_bytes: u64,
}

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    /// Its exit code; none if a signal ended it.
    pub(super) code: Option<i32>,
    /// Standard output.
    pub(super) output: Vec<u8>,
    /// The beginning of standard error.
    pub(super) errors: String,
}

/// Why a program did not say anything of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// It cannot be started or heard.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It took too long, and was killed.
    #[error("not within {0:?}")]
    Time(Duration),
    /// It said too much, and was killed.
    #[error("more than {OUTPUT_BYTES_MAX} bytes of output")]
    Output,
}

/// A process group that is killed unless it ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody left to kill is what is wanted.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The path of this program, also when its file has been replaced since it was started.
pub(super) fn own_program() -> PathBuf {
    let path = std::env::current_exe().ok().filter(|path| path.is_file());
    path.unwrap_or_else(|| PathBuf::from(format!("/proc/{}/exe", std::process::id())))
}

impl Sealed {
    /// Runs it to its end. Dropping the future kills it with all that it started.
    pub(super) async fn run(self) -> Result<Said, RunError> {
        let mut command = Command::new(own_program());
        command
            .arg("sealed")
            .arg(format!("--memory={}", self.limits.memory_bytes))
            .arg(format!("--file={}", self.limits.file_bytes))
            .args(self.way_out.iter().flat_map(|&(port, confinement)| confined(port, confinement)))
            .arg("--")
            .arg(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let lost = || io::Error::other("a pipe to the command is missing");
        let mut stdin = child.stdin.take().ok_or_else(lost)?;
        let stdout = child.stdout.take().ok_or_else(lost)?;
        let stderr = child.stderr.take().ok_or_else(lost)?;
        let input = self.input;
        let conversation = async {
            let feed = async move {
                // A program that does not read its input is free not to.
                let _ = stdin.write_all(&input).await;
                drop(stdin);
                Ok(())
            };
            let (output, errors, ()) = tokio::try_join!(hear(stdout), read_beginning(stderr), feed)?;
            let status = child.wait().await?;
            Ok::<_, RunError>(Said {
                code: status.code(),
                output,
                errors: String::from_utf8_lossy(&errors).into_owned(),
            })
        };
        let said = timeout(self.limits.time, conversation).await.map_err(|_| RunError::Time(self.limits.time))??;
        group.0 = None;
        Ok(said)
    }
}

/// How `sealed` is told.
fn confined(port: u16, confinement: Confinement) -> [String; 2] {
    let manner = match confinement {
        Confinement::Required => "required",
        Confinement::BestEffort => "best-effort",
    };
    [format!("--port={port}"), format!("--confinement={manner}")]
}

async fn hear(from: impl AsyncRead + Unpin) -> Result<Vec<u8>, RunError> {
    let mut heard = Vec::new();
    from.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut heard).await?;
    if heard.len() as u64 > OUTPUT_BYTES_MAX { Err(RunError::Output) } else { Ok(heard) }
}

/// Keeps the beginning and reads on, so that the program does not wait for a reader.
async fn read_beginning(mut from: impl AsyncRead + Unpin) -> Result<Vec<u8>, RunError> {
    let mut heard = Vec::new();
    (&mut from).take(ERRORS_BYTES_MAX).read_to_end(&mut heard).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(heard)
}
