//! What the three binaries have in common on the command line, and how they tell a script that they are ready.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{self, Alias, ConfigError};

/// Everything went well.
pub const EXIT_DONE: u8 = 0;
/// The program could not do its work: an occupied port, an unwritable directory, …
pub const EXIT_FAILED: u8 = 1;
/// The program was called or configured wrongly.
pub const EXIT_USAGE: u8 = 2;

/// Options that every binary has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CommonArgs {
    /// YAML configuration file; without one the defaults and the environment count
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Check the configuration and exit: 0 valid, 2 not
    #[arg(long, global = true)]
    pub check_config: bool,
    /// Print every setting as a Markdown table and exit
    #[arg(long, global = true)]
    pub print_config_reference: bool,
    /// Print the JSON Schema of the configuration file and exit
    #[arg(long, global = true)]
    pub print_config_schema: bool,
    /// Write the process id and the bound addresses to FILE as JSON once everything is bound
    #[arg(long, value_name = "FILE", global = true)]
    pub announce: Option<PathBuf>,
}

/// Serves the options that print and exit, or loads the configuration. `None`: all is said, exit with 0.
pub fn run_common<T>(args: &CommonArgs, binary: &str, aliases: &[Alias<'_>]) -> Result<Option<T>, ConfigError>
where
    T: Serialize + DeserializeOwned + Default + JsonSchema,
{
    run_checked(args, binary, aliases, |_| Ok(()))
}

/// As [`run_common`], with a check of the whole once each value is well formed; its message names the key.
pub fn run_checked<T>(
    args: &CommonArgs,
    binary: &str,
    aliases: &[Alias<'_>],
    check: impl FnOnce(&T) -> Result<(), String>,
) -> Result<Option<T>, ConfigError>
where
    T: Serialize + DeserializeOwned + Default + JsonSchema,
{
    if args.print_config_reference {
        print(&config::reference_markdown::<T>(binary));
        return Ok(None);
    }
    if args.print_config_schema {
        print(&config::json_schema::<T>());
        return Ok(None);
    }
    let loaded = config::load(binary, args.config.as_deref(), aliases)?;
    check(&loaded).map_err(ConfigError::Invalid)?;
    if args.check_config {
        print("configuration is valid\n");
        return Ok(None);
    }
    Ok(Some(loaded))
}

/// A closed pipe (`… | head`) is no error of ours.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// One line on stderr, `modtier-edge: …`, and the exit code.
pub fn fail(binary: &str, code: u8, error: &dyn Display) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "modtier-{binary}: {error}");
    ExitCode::from(code)
}

/// What a started binary tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The process.
    pub pid: u32,
    /// The bound address of the service, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// The bound address of the service with TLS, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The bound address of the service for HTTP/2 without TLS, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h2c: Option<String>,
    /// The bound address of the admin listener, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

impl Announcement {
    /// This process with these addresses.
    pub fn new(listen: Option<impl Display>, admin: Option<impl Display>) -> Self {
        Self {
            pid: std::process::id(),
            listen: listen.map(|address| address.to_string()),
            tls: None,
            h2c: None,
            admin: admin.map(|address| address.to_string()),
        }
    }
}

/// Writes the announcement so that a reader sees all of it or nothing: a temporary file beside it, then a rename.
pub fn announce(path: &Path, announcement: &Announcement) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, announcement)?;
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.json");
        std::fs::write(&path, "old").unwrap();
        let announcement = Announcement::new(Some("127.0.0.1:1"), None::<&str>);
        announce(&path, &announcement).unwrap();
        let read: Announcement = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, announcement);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_announcement_into_a_missing_folder_is_an_error() {
        let announcement = Announcement::new(None::<&str>, None::<&str>);
        assert!(announce(Path::new("/nonexistent/edge.json"), &announcement).is_err());
    }
}
