//! `modtier-center token new`: makes a token and stores its hash.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use shared::access::{Grant, RepositoryPattern, TokenEntry, TokenFile, generate};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, print it once, and add its hash to a file
    New(NewToken),
}

/// A token to be.
#[derive(Debug, Args)]
pub(crate) struct NewToken {
    /// File of hashed tokens; made if it is missing, readable by its owner only
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Name of the token in logs
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What the token allows, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    grant: Vec<GrantArgument>,
    /// Repositories (or patterns such as `team-*`) for which it holds; without any for all, and for the center itself
    #[arg(long, value_delimiter = ',', value_parser = pattern)]
    repository: Vec<RepositoryPattern>,
}

fn pattern(text: &str) -> Result<RepositoryPattern, String> {
    RepositoryPattern::new(text).ok_or_else(|| "neither a repository's name nor a pattern of names".to_owned())
}

/// [`Grant`] on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum GrantArgument {
    /// Reading modules
    Read,
    /// Publishing
    Write,
    /// Tombstoning and restoring
    Delete,
    /// Describing modules and versions by properties
    Annotate,
    /// Administration
    Admin,
}

impl From<GrantArgument> for Grant {
    fn from(argument: GrantArgument) -> Self {
        match argument {
            GrantArgument::Read => Self::Read,
            GrantArgument::Write => Self::Write,
            GrantArgument::Delete => Self::Delete,
            GrantArgument::Annotate => Self::Annotate,
            GrantArgument::Admin => Self::Admin,
        }
    }
}

impl TokenCommand {
    /// Does it; returns what is to be printed on standard output.
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let Self::New(NewToken { file, name, grant, repository }) = self;
        let token = generate().context("the system has no random numbers")?;
        let grants = grant.into_iter().map(Grant::from).collect();
        TokenFile::append(&file, TokenEntry { name, sha256: token.hashed, grants, repositories: repository })?;
        Ok(format!("{}\n", token.plain))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use shared::access::{Access, AccessConfig, Place};

    use super::*;

    #[test]
    fn a_new_token_works_and_is_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.yaml");
        let grant = vec![GrantArgument::Write, GrantArgument::Delete];
        let repository = vec![pattern("team-*").unwrap()];
        let printed =
            TokenCommand::New(NewToken { file: file.clone(), name: "ci".into(), grant, repository }).run().unwrap();
        let plain = printed.trim();
        assert!(!std::fs::read_to_string(&file).unwrap().contains(plain));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let access = Access::open(&AccessConfig { tokens_file: Some(file), ..AccessConfig::default() }).unwrap();
        let header = format!("Bearer {plain}");
        let may = |grant, name| access.check(Some(&header), grant, Place::Repository(name));
        assert_eq!(may(Grant::Write, "team-a").unwrap().name(), "ci");
        assert!(may(Grant::Admin, "team-a").is_err() && may(Grant::Write, "golang-local").is_err());
        assert!(pattern("a b").is_err());
    }
}
