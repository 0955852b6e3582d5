//! `modtier-center sealed -- PROGRAM`: gives itself limits and becomes the program.
//!
//! Limits of a child can be set without a gap only between fork and exec, which safe Rust does not let us stand in; so the
//! center starts itself once more, and that process is the one in between.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use landlock::{
    ABI, Access as _, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done where the kernel cannot keep a command from connections past the egress proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Confinement {
    /// The center does not start, and the command is not run.
    #[default]
    Required,
    /// The command is run. What it connects to without regard to the proxy is for the host's firewall to judge.
    BestEffort,
}

/// What to become, and under which limits.
#[derive(Debug, Args)]
pub(crate) struct SealedArguments {
    /// Address space in bytes
    #[arg(long)]
    memory: u64,
    /// Size of a written file in bytes
    #[arg(long)]
    file: u64,
    /// The one port to which the program may connect, and on which it may not listen either
    #[arg(long)]
    port: Option<u16>,
    /// Whether it may be run where the kernel cannot see to that
    #[arg(long, value_enum, default_value = "required")]
    confinement: Confinement,
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
    if let Some(port) = arguments.port {
        confine(port, arguments.confinement).context("connections cannot be limited to the egress proxy")?;
    }
    let (program, rest) = arguments.command.split_first().context("no program is named")?;
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("{}", program.display()))
}

/// Takes away, for good and from everything that is started from here, every TCP connection but to one port: where the kernel
/// has Landlock with rules for the network (Linux 6.7). On another one that is an error, or with
/// [`Confinement::BestEffort`] nothing is taken away; the proxy's variables remain.
fn confine(port: u16, confinement: Confinement) -> anyhow::Result<()> {
    rules(confinement)?.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?.restrict_self()?;
    Ok(())
}

/// Whether the kernel can confine a command. Restricts nothing here.
pub(crate) fn can_confine() -> bool {
    rules(Confinement::Required).is_ok()
}

/// Rules that forbid every TCP connection.
fn rules(confinement: Confinement) -> Result<RulesetCreated, RulesetError> {
    let level = match confinement {
        Confinement::Required => CompatLevel::HardRequirement,
        Confinement::BestEffort => CompatLevel::BestEffort,
    };
    Ruleset::default().set_compatibility(level).handle_access(AccessNet::from_all(ABI::V4))?.create()
}
