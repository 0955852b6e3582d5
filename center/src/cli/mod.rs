//! The subcommands: serving, and what a person does from a shell.
//!
//! What is asked for goes to standard output, everything else to standard error. Exit codes: 0 done, 1 it could not be done,
//! 2 called or configured wrongly, 3 published, but not visible on every edge in time.

mod carry;
mod client;
mod doctor;
mod moving;
mod publish;
mod upkeep;
mod visible;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use shared::cli::{EXIT_FAILED, EXIT_USAGE, fail};

use self::carry::{Export, Import};
use self::doctor::Doctor;
use self::moving::Move;
use self::publish::Publish;
use self::upkeep::{Collect, Verify};
use crate::BINARY;
use crate::egress::ConnectArguments;
use crate::sealed::SealedArguments;
use crate::token::TokenCommand;

/// Published, but not visible on every edge in time.
const EXIT_NOT_VISIBLE: u8 = 3;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve (what is done without a command too)
    #[command(visible_alias = "run")]
    Serve,
    /// Check the configuration and exit: 0 valid, 2 not
    CheckConfig,
    /// Make tokens for publishing and administration
    #[command(subcommand)]
    Token(TokenCommand),
    /// Pack a module from a folder or a git tag, as the go command would, and publish it
    Publish(Publish),
    /// Write a set of modules, with the proofs of the checksum database, into a bundle
    Export(Export),
    /// Bring a bundle, a module cache, or another proxy's modules into a running center
    Import(Import),
    /// Walk the steps of a request for a module, in a running center, and say where they stop
    Doctor(Doctor),
    /// Remove bodies that nothing refers to from a running center's storage, and with --retention what its rules let go
    Gc(Collect),
    /// Read and hash everything that a running center holds
    Verify(Verify),
    /// Move everything of a stopped center into the storage that the configuration names
    MoveStorage(Move),
    /// What ssh is told to reach its hosts by
    #[command(hide = true)]
    EgressConnect(ConnectArguments),
    /// What programs that fetch are started by
    #[command(hide = true)]
    Sealed(SealedArguments),
}

/// A command that serves nothing.
pub(crate) enum Errand {
    /// See [`TokenCommand`].
    Token(TokenCommand),
    /// See [`Publish`].
    Publish(Box<Publish>),
    /// See [`Export`].
    Export(Box<Export>),
    /// See [`Import`].
    Import(Box<Import>),
    /// See [`Doctor`]; with the configuration file, if one is named.
    Doctor(Doctor, Option<PathBuf>),
    /// See [`Collect`].
    Gc(Collect, Option<PathBuf>),
    /// See [`Verify`].
    Verify(Verify, Option<PathBuf>),
    /// See [`Move`].
    MoveStorage(Move, Option<PathBuf>),
}

/// Runs it and prints what it returns.
pub(crate) fn run(errand: Errand) -> ExitCode {
    let done = match errand {
        Errand::Token(command) => command.run(),
        Errand::Publish(publish) => return published(block_on(publish.run())),
        Errand::Export(export) => block_on(export.run()),
        Errand::Import(import) => block_on(import.run()),
        Errand::MoveStorage(moving, config) => block_on(moving.run(config.as_deref())),
        Errand::Gc(collect, config) => block_on(collect.run(config.as_deref())),
        Errand::Doctor(doctor, config) => return judge(block_on(doctor.run(config.as_deref()))),
        Errand::Verify(verify, config) => return judge(block_on(verify.run(config.as_deref()))),
    };
    match done {
        Ok(printed) => {
            // Whoever closed the pipe does not want to know.
            let _ = std::io::stdout().lock().write_all(printed.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => fail(BINARY, EXIT_FAILED, &format_args!("{error:#}")),
    }
}

/// The exit code of an examination: 0 all is well, 1 it is not, 2 it could not be made.
fn judge(examined: anyhow::Result<(String, bool)>) -> ExitCode {
    match examined {
        Ok((printed, is_well)) => {
            let _ = std::io::stdout().lock().write_all(printed.as_bytes());
            if is_well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
        }
        Err(error) => fail(BINARY, EXIT_USAGE, &format_args!("{error:#}")),
    }
}

/// The exit code of a publish that was to be visible on every edge.
fn published(done: anyhow::Result<(String, bool)>) -> ExitCode {
    match done {
        Ok((printed, is_visible)) => {
            let _ = std::io::stdout().lock().write_all(printed.as_bytes());
            if is_visible { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_VISIBLE) }
        }
        Err(error) => fail(BINARY, EXIT_FAILED, &format_args!("{error:#}")),
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("the runtime cannot be started")?.block_on(work)
}
