//! A git repository: its newest commit is fetched without history, and the files that count are laid out in a folder.
//!
//! Git runs sealed: with an environment of its own, no settings, hooks, prompts or helpers, over the one protocol of its URL, and
//! with limits of time, memory and file size. The URL, which may hold a credential, is handed over in the environment: it is on
//! no command line, in no file and in no message.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::tree::is_meant;
use crate::prewarm::settings::GitSettings;

/// How long one command may take.
const TIME_MAX: Duration = Duration::from_mins(10);

/// Most bytes that a command may say.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// Address space in KiB, and size of a written file in blocks of 512 bytes: 4 GiB each.
const LIMITS: &str = "ulimit -c 0 && ulimit -v 4194304 && ulimit -f 8388608 && exec \"$@\"";

/// Most files that are laid out.
const FILES_MAX: usize = 10_000;

/// Largest file that is laid out; none that counts is larger, as none is read that is.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Most bytes that are laid out: one blob may be listed under any number of paths.
const TREE_BYTES_MAX: u64 = 1 << 30;

/// Where files are laid out before they are in place.
const BESIDE: &str = "new";

/// One repository and where its files are.
#[derive(Debug)]
pub(crate) struct Repository {
    settings: GitSettings,
    folder: PathBuf,
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// The commit.
    pub(crate) commit: String,
    /// Where the files that count are.
    pub(crate) tree: PathBuf,
}

impl Repository {
    /// A repository whose copy is below this folder.
    pub(crate) fn new(settings: &GitSettings, state: &Path) -> Self {
        let name = hex(&Sha256::digest(format!("{}\n{}", settings.url, settings.branch)));
        Self { settings: settings.clone(), folder: state.join("git").join(&name[..32]) }
    }

    /// Its URL without a credential, for people.
    pub(crate) fn shown(&self) -> String {
        let Ok(mut url) = reqwest::Url::parse(&self.settings.url) else { return "a git repository".to_owned() };
        // Both fail only where there can be neither.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.to_string()
    }

    /// Fetches the newest commit and lays out its files.
    ///
    /// # Errors
    /// What went wrong, in one line without a credential.
    pub(crate) async fn fetch(&self) -> Result<Fetched, String> {
        let bare = self.folder.join("repository");
        let has_bare = self
            .apart(|folder| {
                remove(&folder.join(BESIDE))?;
                std::fs::create_dir_all(folder.join("home"))?;
                Ok(folder.join("repository/HEAD").is_file())
            })
            .await?;
        if !has_bare {
            self.git(&["init", "--quiet", "--bare", "--template=", "repository"]).await?;
        }
        let what = if self.settings.branch.is_empty() { "HEAD" } else { &self.settings.branch };
        let at = "--git-dir=repository";
        self.git(&[at, "fetch", "--quiet", "--depth=1", "--no-tags", "--force", "origin", what]).await?;
        let commit = text(&self.git(&[at, "rev-parse", "--verify", "FETCH_HEAD^{commit}"]).await?);
        let tree = self.folder.join(&commit);
        let has_tree = {
            let tree = tree.clone();
            self.apart(move |_| Ok(tree.is_dir())).await?
        };
        if !has_tree {
            let laid_out = self.lay_out(&commit, &tree).await;
            // It would grow by every commit. The next fetch brings one commit anew, which costs less than to keep house.
            self.apart(move |_| remove(&bare)).await?;
            laid_out?;
        }
        Ok(Fetched { commit, tree })
    }

    /// Writes the files beside and moves them into place when all are there; those of other commits go.
    async fn lay_out(&self, commit: &str, tree: &Path) -> Result<(), String> {
        let at = "--git-dir=repository";
        let listed = self.git(&[at, "ls-tree", "-r", "-l", "-z", "--full-tree", commit]).await?;
        let entries: Vec<Entry> = listed.split(|byte| *byte == 0).filter_map(entry).take(FILES_MAX).collect();
        if entries.iter().map(|entry| entry.bytes).sum::<u64>() > TREE_BYTES_MAX {
            return Err(format!("{}: its files are larger than {TREE_BYTES_MAX} bytes together", self.shown()));
        }
        self.apart(|folder| std::fs::create_dir_all(folder.join(BESIDE))).await?;
        for Entry { blob, path, .. } in entries {
            let content = self.git(&[at, "cat-file", "blob", &blob]).await?;
            let write = move |folder: &Path| {
                let file = folder.join(BESIDE).join(path);
                file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                std::fs::write(file, content)
            };
            self.apart(write).await?;
        }
        let tree = tree.to_owned();
        self.apart(move |folder| {
            for old in std::fs::read_dir(folder)?.flatten() {
                if is_commit(&old.file_name().to_string_lossy()) {
                    // What stays is removed the next time.
                    let _ = std::fs::remove_dir_all(old.path());
                }
            }
            std::fs::rename(folder.join(BESIDE), tree)
        })
        .await
    }

    /// Work on the folder, which waits for the disk.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let folder = self.folder.clone();
        let done = tokio::task::spawn_blocking(move || work(&folder)).await.map_err(|error| error.to_string())?;
        done.map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    /// Runs git to its end; what it said on its standard output.
    async fn git(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let verb = arguments.iter().find(|argument| !argument.starts_with('-')).copied().unwrap_or_default();
        let failed = |reason: &str| format!("git {verb} of {}: {reason}", self.shown());
        let mut command = Command::new("sh");
        command.args(["-c", LIMITS, "sh", "git"]).args(arguments).current_dir(&self.folder).env_clear();
        command.envs(self.environment()).process_group(0).stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&format!("the git command is needed and cannot be run: {error}")))?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed("it cannot be heard"));
        };
        let (mut said, mut complaint) = (Vec::new(), Vec::new());
        let conversation = async {
            let output = async { stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut said).await };
            let errors = async { stderr.take(64 << 10).read_to_end(&mut complaint).await };
            tokio::try_join!(output, errors)?;
            child.wait().await
        };
        let status = timeout(TIME_MAX, conversation).await.map_err(|_| failed("it takes too long"))?;
        let status = status.map_err(|error| failed(&error.to_string()))?;
        if said.len() as u64 > OUTPUT_BYTES_MAX {
            return Err(failed("it says too much"));
        }
        group.0 = None;
        if status.success() {
            return Ok(said);
        }
        // Git leaves passwords out of what it says; the URL is cut out all the same.
        let complaint = String::from_utf8_lossy(&complaint).replace(&self.settings.url, &self.shown());
        Err(failed(complaint.lines().last().unwrap_or("it failed")))
    }

    fn environment(&self) -> Vec<(String, OsString)> {
        let scheme = self.settings.url.split(':').next().unwrap_or_default().to_owned();
        let path = |file: &Option<PathBuf>, otherwise: &str| {
            let file = file.as_ref().map_or_else(|| otherwise.to_owned(), |file| file.display().to_string());
            format!("'{}'", file.replace('\'', "'\\''"))
        };
        let ssh = format!(
            "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o IdentityFile={} \
             -o UserKnownHostsFile={} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes",
            path(&self.settings.ssh_key_file, "none"),
            path(&self.settings.known_hosts_file, "/dev/null"),
        );
        let mut environment: Vec<(String, OsString)> = [
            ("HOME", self.folder.join("home").into_os_string()),
            ("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())),
            ("LC_ALL", "C".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
            ("GIT_ATTR_NOSYSTEM", "1".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("GIT_ASKPASS", "".into()),
            ("GIT_ALLOW_PROTOCOL", scheme.into()),
            ("GIT_SSH_COMMAND", ssh.into()),
            ("GIT_SSH_VARIANT", "ssh".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let settings = [
            ("remote.origin.url", self.settings.url.as_str()),
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("credential.helper", ""),
            ("fetch.recurseSubmodules", "false"),
            ("fetch.fsckObjects", "true"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("safe.directory", "*"),
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "60"),
        ];
        environment.push(("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string().into()));
        for (at, (name, value)) in settings.into_iter().enumerate() {
            environment.push((format!("GIT_CONFIG_KEY_{at}"), name.into()));
            environment.push((format!("GIT_CONFIG_VALUE_{at}"), value.into()));
        }
        environment
    }
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

/// A listed file that counts.
struct Entry {
    blob: String,
    bytes: u64,
    path: PathBuf,
}

fn entry(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line).ok()?;
    let (what, path) = line.split_once('\t')?;
    let mut fields = what.split_ascii_whitespace();
    let (mode, kind, blob, bytes) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    // Other objects than blobs have none.
    let bytes = bytes.parse().ok().filter(|bytes| *bytes <= FILE_BYTES_MAX)?;
    let path = PathBuf::from(path);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let is_file = kind == "blob" && mode.starts_with("100");
    (is_plain && is_file && is_meant(path.file_name()?.to_str()?)).then(|| Entry { blob: blob.to_owned(), bytes, path })
}

/// Removes a folder, if it is there.
fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_commit(name: &str) -> bool {
    name.len() >= 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn text(said: &[u8]) -> String {
    String::from_utf8_lossy(said).trim().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let mut command = std::process::Command::new("git");
        command.current_dir(folder).args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(arguments);
        assert!(command.env("GIT_CONFIG_GLOBAL", "/dev/null").status().unwrap().success(), "{arguments:?}");
    }

    #[tokio::test]
    async fn the_newest_commit_is_laid_out_without_history() {
        let folder = tempfile::tempdir().unwrap();
        let origin = folder.path().join("origin");
        std::fs::create_dir_all(origin.join("sub")).unwrap();
        git(&origin, &["init", "--quiet", "-b", "main"]);
        let commit = |text: &str| {
            std::fs::write(origin.join("sub/go.mod"), text).unwrap();
            std::fs::write(origin.join("main.go"), text).unwrap();
            git(&origin, &["add", "-A"]);
            git(&origin, &["commit", "--quiet", "-m", "x"]);
        };
        commit("module a.b/one\n");
        let url = format!("file://{}", origin.display());
        let state = folder.path().join("state");
        let repository = Repository::new(&GitSettings { url, ..GitSettings::default() }, &state);
        let first = repository.fetch().await.unwrap();
        assert_eq!(std::fs::read_to_string(first.tree.join("sub/go.mod")).unwrap(), "module a.b/one\n");
        assert!(!first.tree.join("main.go").exists(), "only what counts");
        let below = |name: &str| first.tree.parent().unwrap().join(name);
        assert!(!below("repository").exists(), "the packs of old commits do not pile up");
        std::fs::create_dir(below(BESIDE)).unwrap();
        assert_eq!(repository.fetch().await.unwrap(), first);
        assert!(!below(BESIDE).exists(), "what a killed run left goes");
        commit("module a.b/two\n");
        let second = repository.fetch().await.unwrap();
        assert_eq!(std::fs::read_to_string(second.tree.join("sub/go.mod")).unwrap(), "module a.b/two\n");
        assert!(!first.tree.exists(), "what is old goes");
        let named = GitSettings { branch: "nowhere".into(), ..repository.settings.clone() };
        let error = Repository::new(&named, &state).fetch().await.unwrap_err();
        assert!(error.contains("git fetch of file:///"), "{error}");
    }

    #[tokio::test]
    async fn a_credential_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let settings = GitSettings { url: "http://user:secret@127.0.0.1:1/x".into(), ..GitSettings::default() };
        let repository = Repository::new(&settings, folder.path());
        let error = repository.fetch().await.unwrap_err();
        assert!(error.contains("127.0.0.1") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn only_plain_paths_of_files_that_count() {
        let of = |line: &str| entry(line.as_bytes()).map(|entry| entry.path.display().to_string());
        assert_eq!(of("100644 blob abc      17\tsub/go.mod").as_deref(), Some("sub/go.mod"));
        for line in [
            "120000 blob abc      17\tgo.mod",
            "100644 blob abc      17\t../go.mod",
            "100644 blob abc      17\tmain.go",
            "160000 commit abc       -\tgo.mod",
            "100644 blob abc 67108864\tgo.mod",
            "",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
