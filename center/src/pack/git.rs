//! The files of a git revision, found as the `go` command finds a module in a repository (`modfetch.codeRepo.findDir`) and
//! read as it reads them (`git archive`).
//!
//! The archive is made in an empty repository beside, which borrows the objects: so neither the settings of this machine nor
//! what is in the working tree change the bytes, and attributes that would leave out or rewrite files are off, as Go has them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use shared::module::{check_path_major, gomod, semver, split_path_version};
use tempfile::TempDir;
use zip::ZipArchive;

use super::{Content, Found, Kind, Order, Source};

/// Which commit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Revision<'a> {
    /// The one of the version's tag: `v1.2.3` at the root, `sub/v1.2.3` below.
    Tag,
    /// This one.
    Named(&'a str),
}

/// What `git archive` puts before every name, so that names of the archive are never empty.
const PREFIX: &str = "prefix/";
/// The type of a link in the upper bits of a Unix mode.
const MODE_TYPE: u32 = 0o170_000;
const MODE_LINK: u32 = 0o120_000;
const MODE_FILE: u32 = 0o100_000;

/// Everything of the module's folder at the revision that the rules are to judge.
pub(super) fn read(order: &Order<'_>, revision: Revision<'_>) -> anyhow::Result<Source> {
    let repository = Repository::of(order.dir)?;
    let major = major_of(order.version);
    let folder = code_folder(&repository.prefix, major.as_deref());
    let commit = match revision {
        Revision::Tag => repository.tagged(&join(folder, order.version.trim_end_matches("+incompatible")))?,
        Revision::Named(name) => repository.commit(name)?,
    };
    let place = find(&repository, &commit, folder, major.as_deref())?;
    let archive = repository.archive(&commit, &place.dir)?;
    let mut archive = ZipArchive::new(archive).context("what git archive wrote")?;
    let mut files = entries(&mut archive, &place.dir)?;
    if !place.dir.is_empty() && !files.iter().any(|found| found.name == "LICENSE") {
        // The module goes out with the licence of the repository that it is a part of.
        if let Some(licence) = repository.blob(&commit, "LICENSE")? {
            let size = licence.len() as u64;
            files.push(Found { name: "LICENSE".into(), kind: Kind::Regular, size, content: Content::Memory(licence) });
        }
    }
    Ok(Source { files, omitted: Vec::new(), gomod: place.gomod, archive: Some(archive) })
}

/// Where in the repository a module is.
struct Place {
    dir: String,
    gomod: Option<Bytes>,
}

/// `v2` of `v2.1.0`; none below v2 and for what is incompatible with having one.
fn major_of(version: &str) -> Option<String> {
    let major = semver::major(version);
    (!["", "v0", "v1"].contains(&major) && !version.ends_with("+incompatible")).then(|| major.to_owned())
}

/// The folder that the tag's name begins with: a last element `v2` is the major version and not a part of it.
fn code_folder<'a>(prefix: &'a str, major: Option<&str>) -> &'a str {
    match (prefix.rsplit_once('/').unwrap_or(("", prefix)), major) {
        ((above, last), Some(major)) if last == major => above,
        _ => prefix,
    }
}

/// The module is in its folder or, from v2 on, in the folder of the major version below it; never in both.
fn find(repository: &Repository, commit: &str, folder: &str, major: Option<&str>) -> anyhow::Result<Place> {
    let upper = repository.blob(commit, &join(folder, "go.mod"))?;
    let is_upper = upper.as_deref().is_some_and(|body| is_of_major(body, major));
    if let Some(major) = major {
        let dir = join(folder, major);
        if let Some(lower) = repository.blob(commit, &join(&dir, "go.mod"))? {
            ensure!(
                is_of_major(&lower, Some(major)),
                "{dir}/go.mod names module {:?}, whose path does not end in /{major}",
                gomod::module_path_of(&lower).unwrap_or_default()
            );
            ensure!(!is_upper, "{} and {dir}/go.mod both have module paths of {major}", join(folder, "go.mod"));
            return Ok(Place { dir, gomod: Some(lower) });
        }
    }
    match upper {
        Some(body) if is_upper => Ok(Place { dir: folder.to_owned(), gomod: Some(body) }),
        Some(body) => bail!(
            "{} names module {:?}, which cannot have a version of {}",
            join(folder, "go.mod"),
            gomod::module_path_of(&body).unwrap_or_default(),
            major.unwrap_or("v0 or v1, or one that is +incompatible")
        ),
        None => {
            ensure!(folder.is_empty() && major.is_none(), "there is no {} at this revision", join(folder, "go.mod"));
            Ok(Place { dir: String::new(), gomod: None })
        }
    }
}

/// Whether a go.mod's module path has versions of this major one.
fn is_of_major(body: &[u8], major: Option<&str>) -> bool {
    let Some(path) = gomod::module_path_of(body) else { return false };
    let Some((_, suffix)) = split_path_version(&path) else { return false };
    match major {
        Some(major) => check_path_major(&format!("{major}.0.0"), suffix).is_ok(),
        None => ["v0.0.0", "v1.0.0"].iter().any(|version| check_path_major(version, suffix).is_ok()),
    }
}

fn entries(archive: &mut ZipArchive<File>, dir: &str) -> anyhow::Result<Vec<Found>> {
    let prefix = if dir.is_empty() { PREFIX.to_owned() } else { format!("{PREFIX}{dir}/") };
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).context("what git archive wrote")?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let Some(name) = name.strip_prefix(&prefix).filter(|name| !name.is_empty() && !name.ends_with('/')) else {
            continue;
        };
        let kind = match entry.unix_mode().map(|mode| mode & MODE_TYPE) {
            Some(MODE_LINK) => Kind::Symlink,
            None | Some(MODE_FILE | 0) => Kind::Regular,
            Some(_) => Kind::Other,
        };
        files.push(Found { name: name.to_owned(), kind, size: entry.size(), content: Content::Entry(index) });
    }
    Ok(files)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// A repository and the empty one beside it.
struct Repository {
    dir: PathBuf,
    /// The folder within the repository, without a slash at its end.
    prefix: String,
    beside: TempDir,
}

impl Repository {
    fn of(dir: &Path) -> anyhow::Result<Self> {
        let said = git(dir, &["rev-parse", "--path-format=absolute", "--show-object-format", "--git-path", "objects"])?;
        let (format, objects) = said.trim_end().split_once('\n').context("git rev-parse said something else")?;
        let prefix = git(dir, &["rev-parse", "--show-prefix"])?.trim_end_matches(['\n', '/']).to_owned();
        let beside = tempfile::tempdir().context("a temporary directory")?;
        git(beside.path(), &["init", "--quiet", "--bare", "--template=", &format!("--object-format={format}"), "."])?;
        let info = beside.path().join("info");
        std::fs::create_dir_all(&info)?;
        std::fs::write(info.join("attributes"), "* -export-subst -export-ignore\n")?;
        std::fs::write(beside.path().join("objects/info/alternates"), format!("{objects}\n"))?;
        Ok(Self { dir: dir.to_owned(), prefix, beside })
    }

    fn tagged(&self, tag: &str) -> anyhow::Result<String> {
        self.commit(&format!("refs/tags/{tag}")).with_context(|| format!("there is no tag {tag}"))
    }

    fn commit(&self, name: &str) -> anyhow::Result<String> {
        let name = format!("{name}^{{commit}}");
        Ok(git(&self.dir, &["rev-parse", "--verify", "--quiet", "--end-of-options", &name])
            .with_context(|| format!("{name} is no commit here"))?
            .trim()
            .to_owned())
    }

    /// The file of this path, if there is one.
    fn blob(&self, commit: &str, path: &str) -> anyhow::Result<Option<Bytes>> {
        let name = format!("{commit}:{path}");
        let output = sealed(self.beside.path()).args(["cat-file", "blob", &name]).output().context("git")?;
        Ok(output.status.success().then(|| output.stdout.into()))
    }

    fn archive(&self, commit: &str, dir: &str) -> anyhow::Result<File> {
        let file = tempfile::tempfile().context("a temporary file for the archive")?;
        let mut command = sealed(self.beside.path());
        // Text is converted on its way into a repository and not on its way out, whatever the machine.
        command.args(["--literal-pathspecs", "-c", "core.autocrlf=input", "-c", "core.eol=lf", "archive"]);
        command.args(["--format=zip", &format!("--prefix={PREFIX}"), "--end-of-options", commit]);
        if !dir.is_empty() {
            command.arg(dir);
        }
        let output = command.stdout(file.try_clone()?).stderr(Stdio::piped()).output().context("git")?;
        ensure!(output.status.success(), "git archive: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(file)
    }
}

fn git(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    // With the user's own settings: they may say that the folder is to be trusted, and change no answer to what is asked here.
    let output = plain(dir).args(args).output().context("the git command is needed and cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: git {}: {}", dir.display(), args.first().unwrap_or(&""), said.trim());
    String::from_utf8(output.stdout).context("git said something that is not UTF-8")
}

/// Git without the settings of the machine and of the user.
fn sealed(dir: &Path) -> Command {
    let mut command = plain(dir);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_ATTR_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("XDG_CONFIG_HOME", "/dev/null");
    command
}

/// Git without the variables by which a hook, or whoever called us, would steer it to another repository.
fn plain(dir: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_tag() {
        for (prefix, version, folder) in [
            ("", "v1.0.0", ""),
            ("", "v2.0.0", ""),
            ("v2", "v2.0.0", ""),
            ("v2", "v3.0.0", "v2"),
            ("v2", "v2.0.0+incompatible", "v2"),
            ("sub/v2", "v2.0.0", "sub"),
            ("sub/v2", "v0.1.0", "sub/v2"),
            ("sub", "v2.0.0", "sub"),
        ] {
            assert_eq!(code_folder(prefix, major_of(version).as_deref()), folder, "{prefix} {version}");
        }
    }
}
