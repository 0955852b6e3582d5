//! The sealed environment of one `go` command: a home, caches and settings of its own, gone when it has ended.
//!
//! ```text
//! fetch-…/  home/          HOME: .netrc, .subversion/, go's telemetry switched off
//!           gitconfig hgrc ssh_config *.pem
//!           work/          where the command runs; no go.mod, no repository
//!           modcache/      GOMODCACHE; cache/vcs leads to the clones that outlive the fetch
//!           gopath/ gocache/ tmp/
//! ```
//!
//! Nothing of the center's own environment is passed on but PATH.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::hosts::{Host, Hosts};
use super::subversion;
use crate::egress::{PASS_VARIABLE, Pass};
use crate::repository::private::command::own_program;

/// What the folder of a fetch begins with.
pub(super) const FETCH_PREFIX: &str = "fetch-";

/// The certificates that `go` trusts when it asks the module's host where the repository is.
const DISCOVERY_ROOTS: &str = "discovery.pem";
/// The certificates that are trusted for a host of which nothing is configured.
const SYSTEM_ROOTS: &str = "system.pem";

/// One fetch's place in the world.
pub(super) struct Home {
    /// Everything of it.
    pub(super) folder: TempDir,
    /// The whole environment of the command.
    pub(super) environment: Vec<(String, OsString)>,
}

impl Home {
    /// Lays it out below `parent`. `clones` is where clones are kept, `module_host` the first element of the module's path:
    /// the host that `go` asks where the module's repository is.
    pub(super) fn new(
        parent: &Path,
        clones: &Path,
        hosts: &Hosts,
        module_host: &str,
        pass: &Pass,
        vcs: &str,
    ) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(FETCH_PREFIX).tempdir_in(parent)?;
        let root = folder.path();
        for name in ["home/.config/go/telemetry", "work", "modcache/cache", "gopath", "gocache", "tmp"] {
            fs::create_dir_all(root.join(name))?;
        }
        symlink(clones, root.join("modcache/cache/vcs"))?;
        // Left on, a child of `go` writes into the home after it was removed.
        write(&root.join("home/.config/go/telemetry/mode"), "off")?;
        write(&root.join(DISCOVERY_ROOTS), &hosts.roots(Some(module_host))?)?;
        write(&root.join(SYSTEM_ROOTS), &hosts.roots(None)?)?;
        for (name, host) in hosts.iter() {
            if host.authority.is_some() {
                write(&authority_of(root, name), &hosts.roots(Some(name))?)?;
            }
        }
        write(&root.join("home/.netrc"), &netrc(hosts))?;
        write(&root.join("gitconfig"), &gitconfig(root, hosts))?;
        write(&root.join("ssh_config"), &ssh_config(hosts))?;
        write(&root.join("hgrc"), &hgrc(root, hosts))?;
        if ["svn", "all"].iter().any(|name| vcs.contains(name)) {
            subversion::lay_out(root, hosts, pass, &ssh_command(root))?;
        }
        let environment = environment(root, pass, vcs);
        Ok(Self { folder, environment })
    }

    /// Where the command runs.
    pub(super) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }
}

fn environment(root: &Path, pass: &Pass, vcs: &str) -> Vec<(String, OsString)> {
    let at = |name: &str| root.join(name).into_os_string();
    let text = |value: &str| OsString::from(value);
    let proxy = || OsString::from(pass.proxy_url());
    let settings = [
        ("PATH", std::env::var_os("PATH").unwrap_or_else(|| text("/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin"))),
        ("HOME", at("home")),
        ("TMPDIR", at("tmp")),
        ("LC_ALL", text("C.UTF-8")),
        // go
        ("GOPATH", at("gopath")),
        ("GOMODCACHE", at("modcache")),
        ("GOCACHE", at("gocache")),
        ("GOENV", text("off")),
        ("GOWORK", text("off")),
        ("GOTOOLCHAIN", text("local")),
        // Writable, so that the folder can be removed by whoever made it.
        ("GOFLAGS", text("-mod=mod -modcacherw")),
        ("GOPROXY", text("direct")),
        ("GOSUMDB", text("off")),
        ("GONOSUMDB", text("*")),
        ("GOVCS", text(vcs)),
        ("GOAUTH", text("netrc")),
        ("SSL_CERT_FILE", at(DISCOVERY_ROOTS)),
        ("SSL_CERT_DIR", at("work")),
        // git
        ("GIT_CONFIG_NOSYSTEM", text("1")),
        ("GIT_CONFIG_GLOBAL", at("gitconfig")),
        ("GIT_TERMINAL_PROMPT", text("0")),
        ("GIT_ASKPASS", text("")),
        ("GIT_ALLOW_PROTOCOL", text("https:ssh")),
        ("GIT_SSH_COMMAND", text(&ssh_command(root))),
        ("GIT_SSH_VARIANT", text("ssh")),
        // hg, svn, fossil
        ("HGRCPATH", at("hgrc")),
        ("HGPLAIN", text("1")),
        ("SVN_SSH", text(&ssh_command(root))),
        // Fossil does nothing for somebody without a name.
        ("FOSSIL_USER", text("modtier")),
        // The way out; both spellings, as every program knows another one.
        ("HTTPS_PROXY", proxy()),
        ("https_proxy", proxy()),
        ("HTTP_PROXY", proxy()),
        ("http_proxy", proxy()),
        ("ALL_PROXY", proxy()),
        (PASS_VARIABLE, pass.variable().into()),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Written for its owner alone.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn authority_of(root: &Path, host: &str) -> PathBuf {
    root.join(format!("roots-{host}.pem"))
}

/// Read by `go` and by git's HTTP library: a credential for each exact host, and no default one.
fn netrc(hosts: &Hosts) -> String {
    let line = |(name, host): (&str, &Host)| {
        let password = host.password.as_ref()?;
        Some(format!("machine {name} login {} password {password}\n", host.username))
    };
    hosts.iter().filter_map(line).collect()
}

fn gitconfig(root: &Path, hosts: &Hosts) -> String {
    let mut text = format!(
        "[core]\n\taskPass =\n\thooksPath = /dev/null\n\tfsmonitor = false\n\
         [credential]\n\thelper =\n\
         [protocol]\n\tallow = never\n[protocol \"https\"]\n\tallow = always\n[protocol \"ssh\"]\n\tallow = always\n\
         [submodule]\n\trecurse = false\n[fetch]\n\trecurseSubmodules = false\n\
         [gc]\n\tauto = 0\n\tautoDetach = false\n[maintenance]\n\tauto = false\n\
         [http]\n\tproxyAuthMethod = basic\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 60\n\tsslVerify = true\n\tsslCAInfo = {}\n",
        quoted(&root.join(SYSTEM_ROOTS))
    );
    for (name, _) in hosts.iter().filter(|(_, host)| host.authority.is_some()) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[http \"https://{name}/\"]\n\tsslCAInfo = {}", quoted(&authority_of(root, name)));
    }
    text
}

fn hgrc(root: &Path, hosts: &Hosts) -> String {
    let mut text = format!(
        "[ui]\ninteractive = False\nssh = {}\n[http_proxy]\nalways = True\n[subrepos]\nallowed = False\n[web]\ncacerts = {}\n",
        ssh_command(root),
        root.join(SYSTEM_ROOTS).display()
    );
    text.push_str("[hostsecurity]\n");
    for (name, _) in hosts.iter().filter(|(_, host)| host.authority.is_some()) {
        let _ = writeln!(text, "{name}:verifycertsfile = {}", authority_of(root, name).display());
    }
    text.push_str("[auth]\n");
    for (at, (name, host)) in hosts.iter().enumerate() {
        if let Some(password) = &host.password {
            let user = &host.username;
            let _ =
                writeln!(text, "h{at}.prefix = https://{name}/\nh{at}.username = {user}\nh{at}.password = {password}");
        }
    }
    text
}

fn ssh_config(hosts: &Hosts) -> String {
    let mut text = String::new();
    for (name, host) in hosts.iter() {
        let _ = writeln!(text, "Host {name}");
        match &host.ssh_key_file {
            Some(key) => writeln!(text, "  IdentityFile {}", quoted(key)),
            None => writeln!(text, "  IdentityFile none"),
        }
        .unwrap_or_default();
        let known = host.known_hosts_file.as_deref().unwrap_or(Path::new("/dev/null"));
        let _ = writeln!(text, "  UserKnownHostsFile {}", quoted(known));
    }
    text.push_str("Host *");
    for (name, _) in hosts.iter() {
        let _ = write!(text, " !{name}");
    }
    text.push_str("\n  IdentityFile none\n  UserKnownHostsFile /dev/null\n");
    let _ = write!(
        text,
        "Host *\n  ProxyCommand {} egress-connect %h %p\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  \
         CheckHostIP no\n  UpdateHostKeys no\n  BatchMode yes\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
         PasswordAuthentication no\n  KbdInteractiveAuthentication no\n  ControlMaster no\n  ControlPath none\n  \
         ForwardAgent no\n  ForwardX11 no\n  PermitLocalCommand no\n  CanonicalizeHostname no\n  ConnectTimeout 30\n  \
         ServerAliveInterval 15\n  ServerAliveCountMax 4\n",
        for_shell(&own_program()).replace('%', "%%")
    );
    text
}

fn ssh_command(root: &Path) -> String {
    format!("ssh -F {}", for_shell(&root.join("ssh_config")))
}

/// In single quotes, as a shell understands it.
fn for_shell(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// In double quotes, as git's and ssh's configuration understand it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}
