//! A real Apache: Subversion over https with a password (`mod_dav_svn`), and Fossil as a CGI program.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{PASSWORD, command, program};
use crate::Authority;
use crate::deadline::until;
use crate::process::{Process, ProcessSpec};

/// What the server says the password is for.
pub const REALM: &str = "Corp Subversion";
/// Whose password it is.
pub const USER: &str = "ci";

/// A running Apache with a Subversion repository at `/svn` and a Fossil one at `/fossil`.
#[derive(Debug)]
pub struct Apache {
    folder: TempDir,
    port: u16,
    process: Process,
}

impl Apache {
    /// Starts it with these repositories, which are copied, and the authority's certificate.
    ///
    /// # Panics
    /// When it is not installed or does not come up: no test is skipped for want of it.
    pub async fn start(authority: &Authority, svn: &Path, fossil: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("modtier-apache-").tempdir().expect("a folder can be made");
        let root = folder.path();
        authority.install(root);
        command("cp", &["-r", &svn.display().to_string(), "svn"], root);
        command("mkdir", &["fossil"], root);
        command("cp", &[&fossil.display().to_string(), "fossil/repository"], root);
        let hashed = command("openssl", &["passwd", "-apr1", PASSWORD], root);
        write(root, "htpasswd", &format!("{USER}:{hashed}\n"));
        let script = format!("#!/usr/bin/fossil\nrepository: {}/fossil/repository\n", root.display());
        write(root, "fossil.cgi", &script);
        // Where root starts it, it serves as nobody.
        command("chmod", &["-R", "a+rwX", "."], root);
        command("chmod", &["755", ".", "fossil.cgi"], root);
        // It wants a number for a port, so a free one is asked of the kernel; should another take it first, ask again.
        for _ in 0..5 {
            let port = crate::redis_server::free_port();
            write(root, "httpd.conf", &config(root, port));
            // One process: with it everything of it ends.
            let spec = ProcessSpec::new("apache2", program(&["/usr/sbin/apache2"]), root).args(&[
                "-f",
                &root.join("httpd.conf").display().to_string(),
                "-X",
            ]);
            let mut process = Process::spawn(spec);
            if comes_up(&mut process, port).await {
                return Self { folder, port, process };
            }
        }
        panic!("apache2 did not come up in five tries");
    }

    /// `address:port`, where it is to be found.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What it wrote about its failures.
    pub fn log(&self) -> String {
        let errors = std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
        format!("{}{errors}", self.process.log())
    }
}

async fn comes_up(process: &mut Process, port: u16) -> bool {
    let mut alive = true;
    until("apache2 answers", Duration::from_secs(30), async || {
        alive = process.exited().is_none();
        !alive || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    alive
}

fn config(root: &Path, port: u16) -> String {
    let modules = [
        "mpm_event",
        "authn_core",
        "authn_file",
        "authz_core",
        "authz_user",
        "auth_basic",
        "alias",
        "cgi",
        "ssl",
        "dav",
        "dav_svn",
    ];
    let load = |name: &&str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    let modules: String = modules.iter().map(load).collect();
    let user = if command("id", &["-u"], root) == "0" { "User nobody\nGroup nogroup\n" } else { "" };
    let root = root.display();
    format!(
        "ServerRoot {root}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {root}/pid\nDefaultRuntimeDir {root}\n\
         ErrorLog {root}/error.log\n{modules}{user}\
         SSLEngine on\nSSLCertificateFile {root}/server.pem\nSSLCertificateKeyFile {root}/server.key\n\
         <Location /svn>\nDAV svn\nSVNPath {root}/svn\nAuthType Basic\nAuthName \"{REALM}\"\n\
         AuthUserFile {root}/htpasswd\nRequire valid-user\n</Location>\n\
         ScriptAlias /fossil {root}/fossil.cgi\n<Directory {root}>\nRequire all granted\n</Directory>\n"
    )
}

fn write(root: &Path, name: &str, text: &str) {
    std::fs::write(root.join(name), text).expect("the test's folder is writable");
}
