//! A real sshd. It is started for each connection with the connection as its standard input (`sshd -i`), because it cannot be
//! told to take a free port.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::repository::command;
use super::{program, write_private};

/// The running server; it takes no further connection when dropped.
#[derive(Debug)]
pub struct Sshd {
    address: SocketAddr,
    folder: TempDir,
    accepting: JoinHandle<()>,
}

impl Sshd {
    /// Starts one that lets the user who runs the test in with the key of [`Sshd::key`], as `host`.
    ///
    /// # Panics
    /// When openssh-server is missing, or no port is free.
    pub async fn start(host: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("modtier-ssh-").tempdir().expect("a folder can be made");
        let root = folder.path().to_owned();
        for name in ["host", "client"] {
            command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name], &root);
        }
        let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("ssh-keygen writes the keys");
        write_private(&root.join("authorized_keys"), &read("client.pub"));
        write_private(&root.join("known_hosts"), &format!("{host} {}", read("host.pub")));
        let config = format!(
            "HostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nLogLevel VERBOSE\n",
            root.display()
        );
        write_private(&root.join("sshd_config"), &config);
        if command("id", &["-u"], &root) == "0" {
            // Where sshd separates its privileges; the service would make it.
            std::fs::create_dir_all("/run/sshd").expect("root may write to /run");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream = stream.into_std().expect("a stream has a descriptor");
                stream.set_nonblocking(false).expect("a stream can block");
                converse(&root, &OwnedFd::from(stream));
            }
        });
        Self { address, folder, accepting }
    }

    /// `address:port`, where it is to be found.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The private key that it lets in.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("client")
    }

    /// Its host key, for clients.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// What it wrote about its connections.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn converse(root: &Path, stream: &OwnedFd) {
    let copy = || Stdio::from(stream.try_clone().expect("a descriptor can be duplicated"));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(root.join("log"));
    let mut sshd = Command::new(program(&["/usr/sbin/sshd", "/usr/local/sbin/sshd"]));
    sshd.arg("-i").arg("-e").arg("-f").arg(root.join("sshd_config"));
    sshd.stdin(copy()).stdout(copy()).stderr(log.expect("the test's folder is writable"));
    let mut child = sshd.spawn().expect("openssh-server is needed");
    // It ends with its connection.
    std::thread::spawn(move || child.wait());
}
