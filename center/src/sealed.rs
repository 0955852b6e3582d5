//! `modtier-center sealed -- PROGRAM`: gives itself limits and becomes the program.
//!
//! Limits of a child can be set without a gap only between fork and exec, which safe Rust does not let us stand in; so the
//! center starts itself once more, and that process is the one in between.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What to become, and under which limits.
#[derive(Debug, Args)]
pub(crate) struct SealedArguments {
    /// Address space in bytes
    #[arg(long)]
    memory: u64,
    /// Size of a written file in bytes
    #[arg(long)]
    file: u64,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Does it; comes back only if it fails.
pub(crate) fn become_command(arguments: &SealedArguments) -> anyhow::Result<Infallible> {
    for (resource, limit) in [(Resource::As, arguments.memory), (Resource::Fsize, arguments.file), (Resource::Core, 0)]
    {
        // What was limited more narrowly from outside stays so.
        let outer = getrlimit(resource).maximum;
        let limit = Some(outer.map_or(limit, |outer| outer.min(limit)));
        setrlimit(resource, Rlimit { current: limit, maximum: limit })
            .with_context(|| format!("{resource:?} cannot be limited to {limit:?}"))?;
    }
    let (program, rest) = arguments.command.split_first().context("no program is named")?;
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("{}", program.display()))
}
