//! Azurite, Microsoft's own emulation of Azure's blob service: the service itself cannot be had.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::Web;
use crate::deadline::until_some;
use crate::object_server::tools;
use crate::process::{Process, ProcessSpec};

/// The account that every Azurite has, and its key, as its documentation says.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running Azurite with one container, `modtier`.
#[derive(Debug)]
pub struct AzureServer {
    _process: Process,
    base: String,
}

impl AzureServer {
    /// Starts one with its data in `dir`.
    ///
    /// # Panics
    /// When it is not installed or does not come up: no test is skipped for want of it.
    pub async fn start(dir: &Path) -> Self {
        let program = tools().join("azurite/node_modules/.bin/azurite-blob");
        assert!(program.exists(), "{} is not installed: run `make test`, which installs it", program.display());
        let spec = ProcessSpec::new("azurite", PathBuf::from("node"), dir)
            .args(&[&program.display().to_string(), "--blobHost", "127.0.0.1", "--blobPort", "0"])
            .args(&["--skipApiVersionCheck", "--disableTelemetry", "--location", &dir.display().to_string()]);
        let mut process = Process::spawn(spec);
        let address = until_some("Azurite listens", Duration::from_mins(1), async || {
            if let Some(status) = process.exited() {
                panic!("azurite ended at start with {status}:\n{}", process.log());
            }
            let log = process.log();
            let said =
                log.split_once("successfully listens on ").or_else(|| log.split_once("successfully listening at "))?;
            said.1.split_whitespace().next().map(str::to_owned)
        })
        .await;
        let server = Self { _process: process, base: format!("{address}/{ACCOUNT}") };
        server.create_container().await;
        server
    }

    /// `storage.blobs.url`.
    pub fn url(&self) -> &'static str {
        "az://modtier/blobs"
    }

    /// `storage.blobs.options`.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("endpoint", self.base.clone()),
            ("account_name", ACCOUNT.to_owned()),
            ("access_key", KEY.to_owned()),
            ("allow_http", "true".to_owned()),
        ]
    }

    async fn create_container(&self) {
        let format =
            format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
        let date = OffsetDateTime::now_utc().format(format).expect("a date can be written");
        let signed = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2023-11-03\n/{ACCOUNT}/{ACCOUNT}/modtier\nrestype:container"
        );
        let key = STANDARD.decode(KEY).expect("the key is in base64");
        let signature = STANDARD.encode(hmac(&key, signed.as_bytes()));
        let request = Web::new(&self.base)
            .request(Method::PUT, "modtier?restype=container")
            .header("x-ms-date", date)
            .header("x-ms-version", "2023-11-03")
            .header("content-length", "0")
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"));
        let answer = Web::send(request).await.expect("Azurite answers");
        assert_eq!(answer.status, 201, "Azurite makes a container: {}", answer.text());
    }
}

/// HMAC-SHA256 (RFC 2104) with a key of at most 64 bytes.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
