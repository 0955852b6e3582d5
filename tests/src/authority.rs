//! A certificate of a local authority, made as `make run TLS=1` makes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::process::workspace;

/// An authority and a certificate for loopback that it signed.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When openssl is missing.
    pub fn new() -> Self {
        Self::naming(&["localhost", "127.0.0.1"])
    }

    /// A new one, whose certificate is for these hosts.
    ///
    /// # Panics
    /// When openssl is missing.
    pub fn naming(hosts: &[&str]) -> Self {
        let dir =
            tempfile::Builder::new().prefix("modtier-tls-").tempdir().expect("the temporary directory is writable");
        let script = workspace().join("deploy/local/certificate.sh");
        let output = Command::new(script).arg(dir.path()).args(hosts).output();
        let output = output.unwrap_or_else(|error| panic!("deploy/local/certificate.sh: {error}"));
        assert!(output.status.success(), "certificate.sh:\n{}", String::from_utf8_lossy(&output.stderr));
        Self { dir }
    }

    /// What clients trust.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    /// What clients of reqwest trust.
    ///
    /// # Panics
    /// When the authority's certificate was removed.
    pub fn root(&self) -> reqwest::Certificate {
        let pem = std::fs::read(self.certificate()).expect("the authority's certificate is there");
        reqwest::Certificate::from_pem(&pem).expect("the authority's certificate is one")
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.dir.path().join("server.key")
    }

    /// For a server of the test's own.
    ///
    /// # Panics
    /// When the files were removed.
    pub(crate) fn server_config(&self) -> rustls::ServerConfig {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = CertificateDer::pem_file_iter(self.server_certificate()).expect("the certificate is there");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("the certificate is one");
        let key = PrivateKeyDer::from_pem_file(self.server_key()).expect("the key is one");
        rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they belong together")
    }

    /// A certificate for a client, and its key.
    ///
    /// # Panics
    /// When openssl fails.
    pub fn client_certificate(&self) -> (PathBuf, PathBuf) {
        let at = |name: &str| self.dir.path().join(name);
        let usage =
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n";
        std::fs::write(at("client.ext"), usage).expect("the temporary directory is writable");
        let openssl = |line: &str| {
            let output = Command::new("openssl").args(line.split(' ')).current_dir(self.dir.path()).output();
            let output = output.unwrap_or_else(|error| panic!("openssl: {error}"));
            assert!(output.status.success(), "openssl {line}:\n{}", String::from_utf8_lossy(&output.stderr));
        };
        openssl(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout client.key -subj /CN=client -out client.csr",
        );
        openssl(
            "x509 -req -in client.csr -CA authority.pem -CAkey authority.key -set_serial 7 -days 10 -extfile client.ext -out client.pem",
        );
        (at("client.pem"), at("client.key"))
    }

    /// Puts the server's certificate and key where a server looks for them.
    ///
    /// # Panics
    /// When the folder is not writable.
    pub fn install(&self, folder: &Path) {
        for (from, to) in [(self.server_certificate(), "server.pem"), (self.server_key(), "server.key")] {
            std::fs::copy(from, folder.join(to)).expect("the test's folder is writable");
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
