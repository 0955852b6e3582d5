//! Opening the object store that the settings name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use reqwest::Url;

use crate::store::settings::BlobSettings;
use crate::store::{StoreError, make_directory};

/// How long a connection may take, and how long an object store may say nothing. A body as a whole may take its time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a request is tried again that failed.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// Where the objects lie.
enum Location {
    Directory(PathBuf),
    Memory,
    /// Scheme, URL of the bucket, prefix in it.
    Bucket(Scheme, String, String),
}

#[derive(Clone, Copy)]
enum Scheme {
    S3,
    Google,
    Azure,
}

impl Location {
    /// None for the directory that is used without a word.
    fn of(url: &str) -> Result<Option<Self>, String> {
        if url.is_empty() {
            return Ok(None);
        }
        // What stands there may hold a secret, and is not repeated.
        let wrong = |why: &str| format!("url: {why}; use s3://, gs://, az://, file:/// or memory:");
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        let scheme = match parsed.scheme() {
            "memory" => return Ok(Some(Self::Memory)),
            "file" => {
                let path = parsed.to_file_path().map_err(|()| wrong("not an absolute path"))?;
                return Ok(Some(Self::Directory(path)));
            }
            "s3" => Scheme::S3,
            "gs" => Scheme::Google,
            "az" => Scheme::Azure,
            other => return Err(wrong(&format!("there is no scheme {other:?}"))),
        };
        let bucket = parsed.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no bucket is named"))?;
        let prefix = parsed.path().trim_matches('/').to_owned();
        Ok(Some(Self::Bucket(scheme, format!("{}://{bucket}", parsed.scheme()), prefix)))
    }
}

/// Whether the settings can be used at all. The message names the key below `storage.blobs`.
pub(crate) fn check_location(settings: &BlobSettings) -> Result<(), String> {
    let known = |is_known: fn(&str) -> bool| {
        let unknown = settings.options.keys().find(|name| !is_known(name.as_str()));
        unknown.map_or(Ok(()), |name| Err(format!("options.{name}: the object store has no such option")))
    };
    match Location::of(&settings.url)? {
        Some(Location::Bucket(Scheme::S3, ..)) => known(|name| AmazonS3ConfigKey::from_str(name).is_ok()),
        Some(Location::Bucket(Scheme::Google, ..)) => known(|name| GoogleConfigKey::from_str(name).is_ok()),
        Some(Location::Bucket(Scheme::Azure, ..)) => known(|name| AzureConfigKey::from_str(name).is_ok()),
        None | Some(Location::Directory(_) | Location::Memory) => known(|_| false),
    }
}

/// Opens the object store; `default` is the directory where nothing is configured. Returns the directory too, if it is one.
pub(super) fn open(
    settings: &BlobSettings,
    default: &Path,
) -> Result<(Arc<dyn ObjectStore>, Option<PathBuf>), StoreError> {
    let unusable = |why: String| StoreError::Unusable(format!("storage.blobs: {why}"));
    let location = Location::of(&settings.url).map_err(unusable)?;
    let location = location.unwrap_or_else(|| Location::Directory(default.to_owned()));
    let failed = |error: object_store::Error| unusable(error.to_string());
    let (scheme, url, prefix) = match location {
        Location::Memory => return Ok((Arc::new(InMemory::new()), None)),
        Location::Directory(directory) => {
            make_directory(&directory)?;
            let objects = LocalFileSystem::new_with_prefix(&directory).map_err(failed)?;
            // Off by default; without it an acknowledged publish could be lost.
            return Ok((Arc::new(objects.with_fsync(true)), Some(directory)));
        }
        Location::Bucket(scheme, url, prefix) => (scheme, url, prefix),
    };
    // A second installation in the same process is refused, and the first one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = settings.all_options()?;
    let objects = match scheme {
        Scheme::S3 => s3(&url, &options).map_err(failed)?,
        Scheme::Google => google(&url, &options).map_err(failed)?,
        Scheme::Azure => azure(&url, &options).map_err(failed)?,
    };
    Ok((if prefix.is_empty() { objects } else { Arc::new(PrefixStore::new(objects, prefix)) }, None))
}

fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_timeout_disabled()
        .with_user_agent(http::HeaderValue::from_static(concat!("modtier-center/", env!("CARGO_PKG_VERSION"))))
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: 5, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

type Opened = Result<Arc<dyn ObjectStore>, object_store::Error>;

fn s3(url: &str, options: &BTreeMap<String, String>) -> Opened {
    let mut builder = AmazonS3Builder::from_env().with_client_options(client_options()).with_retry(retries());
    for (name, value) in options {
        builder = builder.with_config(AmazonS3ConfigKey::from_str(name)?, value);
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}

fn google(url: &str, options: &BTreeMap<String, String>) -> Opened {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_client_options(client_options()).with_retry(retries());
    for (name, value) in options {
        builder = builder.with_config(GoogleConfigKey::from_str(name)?, value);
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}

fn azure(url: &str, options: &BTreeMap<String, String>) -> Opened {
    let mut builder = MicrosoftAzureBuilder::from_env().with_client_options(client_options()).with_retry(retries());
    for (name, value) in options {
        builder = builder.with_config(AzureConfigKey::from_str(name)?, value);
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}
