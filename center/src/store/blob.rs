//! Bodies: each once, under its SHA-256. Up to 32 KiB they are values among the metadata (machine.md has the measurement),
//! above that objects of an `object_store`: files that are synced and renamed into place, or objects of a cloud.

mod files;
mod hot;
mod new;
mod objects;
mod seen;

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, WriteMultipart};
use serde::{Deserialize, Serialize};
use shared::digest::Digest;
use tokio::io::AsyncReadExt as _;

use self::files::{Files, Pieces};
pub(super) use self::hot::Hot;
pub(crate) use self::new::{NewBody, Placed};
pub(super) use self::objects::check_location;
use self::seen::Seen;
use super::settings::BlobSettings;
use super::{Store, StoreError, family};

/// The largest body that is kept as a value among the metadata, in bytes.
pub(crate) const SMALL_BYTES_MAX: u64 = 32 * 1024;

/// Size of one read from a file that is uploaded, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// Size of one part of an upload to the object store, in bytes. What is not larger is uploaded at once.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// A stream of a blob's bytes.
pub(crate) type BlobStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// A body that is an object of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobRef {
    /// SHA-256 of the body: its name.
    pub(crate) digest: Digest,
    /// Length in bytes.
    pub(crate) len: u64,
    /// How often a body of this name was given up before: no removal of an earlier one can reach it ([`super::collect`]).
    pub(crate) generation: u32,
}

impl BlobRef {
    /// Where it lies below the directory or prefix: `ab/ab12…`, and after a removal `ab/ab12….1`.
    fn name(&self) -> String {
        let hex = self.digest.hex();
        let folder = &hex[..2];
        match self.generation {
            0 => format!("{folder}/{hex}"),
            generation => format!("{folder}/{hex}.{generation}"),
        }
    }

    /// What lies there; none if that is no body in service.
    fn of(name: &str, len: u64) -> Option<Self> {
        let file = name.rsplit('/').next()?;
        let (hex, generation) = file.split_once('.').unwrap_or((file, "0"));
        let blob = Self { digest: hex.parse().ok()?, len, generation: generation.parse().ok()? };
        (blob.name() == name).then_some(blob)
    }
}

/// A stored body as metadata refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// SHA-256 of the body.
    pub(crate) digest: Digest,
    /// Length in bytes.
    pub(crate) len: u64,
    /// When it was stored, or last modified at its source: Unix time in milliseconds.
    pub(crate) modified_ms: u64,
    /// Which of the bodies of this name it is, where they are objects: see [`BlobRef::generation`].
    #[serde(default, skip_serializing_if = "is_first")]
    pub(crate) generation: u32,
}

/// Whether a body never lay under its name before.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_first(generation: &u32) -> bool {
    *generation == 0
}

impl Stored {
    /// Whether the body is a value among the metadata rather than a blob.
    pub(crate) const fn is_small(&self) -> bool {
        self.len <= SMALL_BYTES_MAX
    }

    /// The blob of a body that is not small.
    pub(crate) const fn blob(&self) -> BlobRef {
        BlobRef { digest: self.digest, len: self.len, generation: self.generation }
    }
}

/// A blob that was there when it was opened.
#[derive(Debug, Clone)]
pub(crate) struct OpenBlob {
    /// Which one.
    pub(crate) blob: BlobRef,
    /// Its bytes, where blobs are files.
    file: Option<Arc<File>>,
}

/// The object store of bodies above 32 KiB.
#[derive(Debug)]
pub(crate) struct Blobs {
    objects: Arc<dyn ObjectStore>,
    /// The directory, if the object store is one: what lies there is read without it.
    files: Option<Files>,
    /// None where to ask costs nothing: in a directory.
    seen: Option<Seen>,
}

impl Blobs {
    /// Opens what the settings name, by default a directory. If nobody else is writing there, what interrupted uploads left in it is
    /// removed.
    pub(super) fn open(settings: &BlobSettings, default: &Path, is_alone: bool) -> Result<Self, StoreError> {
        let (objects, directory) = objects::open(settings, default)?;
        let seen = directory.is_none().then(Seen::default);
        if let Some(directory) = directory.as_deref().filter(|_| is_alone) {
            remove_staged(directory)?;
        }
        Ok(Self { objects, files: directory.map(Files::new), seen })
    }

    /// Opens a blob. None if it is not there with its length, as far as is known: where it was a while ago, the object store is not
    /// asked again.
    pub(crate) async fn open_blob(&self, blob: &BlobRef) -> Result<Option<OpenBlob>, StoreError> {
        let open = |file| OpenBlob { blob: *blob, file };
        match &self.files {
            Some(files) => Ok(files.open(blob).await?.map(Some).map(open)),
            None => Ok(self.contains(blob).await?.then(|| open(None))),
        }
    }

    /// Reads a range of an open blob.
    pub(crate) async fn read_open(&self, open: OpenBlob, range: Range<u64>) -> Result<BlobStream, StoreError> {
        match open.file {
            Some(file) => Ok(Pieces::of(file, range).boxed()),
            None => self.read_object(&open.blob, range).await,
        }
    }

    /// Opens a blob and reads a range of it. Fails at once if the blob is missing or has another length.
    pub(crate) async fn read(&self, blob: &BlobRef, range: Range<u64>) -> Result<BlobStream, StoreError> {
        let Some(files) = &self.files else { return self.read_object(blob, range).await };
        let missing = || StoreError::Blob(format!("{}: not there with {} bytes", location(blob), blob.len));
        let file = files.open(blob).await?.ok_or_else(missing)?;
        Ok(Pieces::of(file, range).boxed())
    }

    async fn read_object(&self, blob: &BlobRef, range: Range<u64>) -> Result<BlobStream, StoreError> {
        let location = location(blob);
        if range.is_empty() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.objects.get_opts(&location, options).await;
        if let Some(seen) =
            self.seen.as_ref().filter(|_| found.as_ref().map(|found| found.meta.size).ok() != Some(blob.len))
        {
            seen.forget(blob);
        }
        let found = found.map_err(failed)?;
        if found.meta.size != blob.len {
            return Err(StoreError::Blob(format!("{location}: {} bytes instead of {}", found.meta.size, blob.len)));
        }
        Ok(found.into_stream().map(|part| part.map_err(failed)).boxed())
    }

    /// Whether the blob is there with its length, as far as is known: where it was a while ago, the object store is not asked again.
    pub(crate) async fn contains(&self, blob: &BlobRef) -> Result<bool, StoreError> {
        if self.seen.as_ref().is_some_and(|seen| seen.has(blob)) {
            return Ok(true);
        }
        let is_there = self.is_there(blob).await?;
        if let Some(seen) = self.seen.as_ref().filter(|_| is_there) {
            seen.note(blob);
        }
        Ok(is_there)
    }

    /// Whether the blob is there with its length, now.
    pub(super) async fn is_there(&self, blob: &BlobRef) -> Result<bool, StoreError> {
        match self.objects.head(&location(blob)).await {
            Ok(meta) => Ok(meta.size == blob.len),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// All blobs, in no particular order.
    pub(super) fn list(&self) -> BoxStream<'static, Result<BlobRef, StoreError>> {
        // What lies elsewhere was set aside.
        let blob = |meta: object_store::ObjectMeta| BlobRef::of(meta.location.as_ref(), meta.size).map(Ok);
        let listed = self.objects.list(None);
        listed
            .filter_map(move |meta| std::future::ready(meta.map_or_else(|error| Some(Err(failed(error))), blob)))
            .boxed()
    }

    /// Removes a blob. That it is not there is no error.
    pub(super) async fn remove(&self, blob: &BlobRef) -> Result<(), StoreError> {
        if let Some(seen) = &self.seen {
            seen.forget(blob);
        }
        match self.objects.delete(&location(blob)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes a damaged blob out of service, for whoever wants to look at it.
    pub(super) async fn set_aside(&self, blob: &BlobRef) -> Result<(), StoreError> {
        let aside = ObjectPath::from(format!("damaged/{}", blob.digest.hex()));
        self.objects.copy(&location(blob), &aside).await.map_err(failed)?;
        self.remove(blob).await
    }

    /// Writes a body unless it is there. When this returns it is on disk, its directory too.
    pub(super) async fn put(&self, body: &NewBody, blob: &BlobRef) -> Result<(), StoreError> {
        if self.is_there(blob).await? {
            return Ok(());
        }
        let location = location(blob);
        match body {
            NewBody::Memory(bytes) => {
                self.objects.put(&location, bytes.clone().into()).await.map_err(failed)?;
            }
            NewBody::File { path, len, .. } if *len <= PART_BYTES as u64 => {
                let bytes = tokio::fs::read(path).await.map_err(io_failed)?;
                self.objects.put(&location, bytes.into()).await.map_err(failed)?;
            }
            NewBody::File { path, .. } => {
                let mut file = tokio::fs::File::open(path).await.map_err(io_failed)?;
                let upload = self.objects.put_multipart(&location).await.map_err(failed)?;
                let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
                let copied = copy_into(&mut file, &mut upload).await;
                match copied {
                    Ok(()) => upload.finish().await.map_err(failed)?,
                    Err(error) => {
                        if let Err(error) = upload.abort().await {
                            tracing::warn!(%error, "abort of a blob's upload failed");
                        }
                        return Err(error);
                    }
                };
            }
        }
        Ok(())
    }
}

impl Store {
    /// Brings a body to safety before the commit that refers to it.
    pub(crate) async fn place(&self, body: NewBody, modified_ms: u64) -> Result<Placed, StoreError> {
        let mut stored = Stored { digest: body.digest(), len: body.len(), modified_ms, generation: 0 };
        if !stored.is_small() {
            stored.generation = self.acquit(&stored.digest).await?;
            self.blobs().put(&body, &stored.blob()).await?;
            return Ok(Placed { stored, small: None });
        }
        let bytes = match body {
            NewBody::Memory(bytes) => bytes,
            NewBody::File { path, .. } => tokio::fs::read(path).await.map_err(io_failed)?.into(),
        };
        Ok(Placed { stored, small: Some(bytes) })
    }

    /// Writes a small body anew to which a record refers already, if it is lost or damaged: a commit that has nothing to write does
    /// not carry it. When this returns it is on disk.
    pub(crate) async fn put_back(&self, placed: &Placed) -> Result<(), StoreError> {
        let Some(bytes) = placed.small.clone() else { return Ok(()) };
        if self.examine(&placed.stored).await?.is_none() {
            return Ok(());
        }
        self.inner.engine.put(family::SMALL, placed.stored.digest.hex().as_bytes(), bytes, true).await
    }

    /// A small body. None if it is missing: the caller fetches it again.
    pub(crate) async fn small(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.inner.engine.get(family::SMALL, digest.hex().as_bytes()).await
    }

    /// The same for a client: out of memory, if it was asked for of late. What is kept of a body and is not its bytes counts as missing.
    pub(crate) async fn small_for_client(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        if let Some(body) = self.inner.hot.get(digest) {
            return Ok(Some(body));
        }
        let Some(body) = self.small(digest).await? else { return Ok(None) };
        if Digest::of(&body) != *digest {
            tracing::error!(%digest, "a stored body is damaged");
            return Ok(None);
        }
        self.inner.hot.put(*digest, body.clone());
        Ok(Some(body))
    }

    /// The whole of a body, small or not. None if it is missing.
    pub(crate) async fn load(&self, stored: &Stored) -> Result<Option<Bytes>, StoreError> {
        if stored.is_small() {
            return self.small(&stored.digest).await;
        }
        let Some(open) = self.blobs().open_blob(&stored.blob()).await? else { return Ok(None) };
        let mut stream = self.blobs().read_open(open, 0..stored.len).await?;
        let mut body = Vec::with_capacity(usize::try_from(stored.len).unwrap_or(0));
        while let Some(part) = stream.next().await {
            body.extend_from_slice(&part?);
        }
        Ok(Some(body.into()))
    }
}

async fn copy_into(file: &mut tokio::fs::File, upload: &mut WriteMultipart) -> Result<(), StoreError> {
    loop {
        // Two parts in flight bound the memory of a 500 MiB zip.
        upload.wait_for_capacity(2).await.map_err(failed)?;
        let mut part = vec![0; READ_BYTES];
        let count = file.read(&mut part).await.map_err(io_failed)?;
        if count == 0 {
            return Ok(());
        }
        part.truncate(count);
        upload.put(part.into());
    }
}

fn location(blob: &BlobRef) -> ObjectPath {
    ObjectPath::from(blob.name())
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn failed(error: object_store::Error) -> StoreError {
    StoreError::Blob(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn io_failed(error: std::io::Error) -> StoreError {
    StoreError::Blob(error.to_string())
}

/// `LocalFileSystem` stages an upload as `<name>#<number>` beside its place; a kill leaves that file.
fn remove_staged(directory: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(directory).map_err(io_failed)? {
        let entry = entry.map_err(io_failed)?;
        if entry.file_type().map_err(io_failed)?.is_dir() {
            remove_staged(&entry.path())?;
        } else if entry.file_name().to_string_lossy().contains('#') {
            std::fs::remove_file(entry.path()).map_err(io_failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
