//! Filling a zip: streamed to its readers while it is stored, its tail held back until everything is proven.

use std::fs::File;
use std::io::Cursor;
use std::sync::Arc;

use shared::fill::{FillWriter, Spooled};
use shared::module::zip::{ZIP_BYTES_MAX, ZipError, ZipSummary, verify_zip};
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;

use super::immutable::note_lie;
use super::{Remote, finish};
use crate::repository::figures::Refusal;
use crate::repository::publish::blocking;
use crate::repository::{FillHead, Proof, RepoError, TOOLCHAIN, Verdict};
use crate::store::{NewBody, to_ms};
use crate::upstream::{describe, too_large};

impl Remote {
    pub(super) async fn fill_zip(
        self: Arc<Self>,
        request: ModuleRequest,
        version: Version,
        mut writer: FillWriter<FillHead>,
    ) {
        let mut result = self.stream_zip(&request, &version, &mut writer).await;
        // Once more, unless readers have a part: that cannot be taken back.
        if !writer.is_released() && self.may_repeat(&result) {
            writer.restart();
            result = self.stream_zip(&request, &version, &mut writer).await;
        }
        let result = self.note_absence(&request, result).await;
        if let Err(error) = &result {
            tracing::warn!(repository = self.name, what = describe(&request), %error, "a zip could not be filled");
        }
        finish(writer, result);
    }

    async fn stream_zip(
        self: &Arc<Self>,
        request: &ModuleRequest,
        version: &Version,
        writer: &mut FillWriter<FillHead>,
    ) -> Result<(), RepoError> {
        let what = describe(request);
        let mut incoming = self.ask_body(request).await?;
        let announced = incoming.len();
        if announced.is_some_and(|len| len > ZIP_BYTES_MAX) {
            return Err(too_large(&what, ZIP_BYTES_MAX));
        }
        let (modified, sender) = (incoming.modified(), incoming.sender());
        // The name of an owned path goes to no database, not even to see whether that is there.
        let owned = request.module.as_str() != TOOLCHAIN && self.owners.owner_of(&request.module).is_some();
        let unverified = !owned && self.verifier.is_away(&request.module, version).await;
        // Not before the first piece: until then another attempt may find another length.
        let mut first = incoming.chunk().await?;
        writer.head(FillHead { len: announced, modified, unverified });
        while let Some(chunk) = first.take() {
            if writer.written() + chunk.len() as u64 > ZIP_BYTES_MAX {
                return Err(too_large(&what, ZIP_BYTES_MAX));
            }
            writer.write(chunk).await?;
            first = incoming.chunk().await?;
        }
        drop(incoming);
        let kept = self.prove_and_commit(request, version, writer.seal(), to_ms(modified), unverified).await;
        kept.inspect_err(|error| note_lie(error, &sender))
    }

    async fn prove_and_commit(
        self: &Arc<Self>,
        request: &ModuleRequest,
        version: &Version,
        spooled: Spooled,
        modified_ms: u64,
        unverified: bool,
    ) -> Result<(), RepoError> {
        let (spooled, summary) = self.inspect(&request.module, version, spooled).await?;
        let proven = self.prove(&request.module, version, Proof::Zip { h1: &summary.h1 }).await;
        let (spooled, verdict) = match proven {
            Ok(verdict) => (spooled, verdict),
            Err(error) => {
                self.put_aside(format!("{}@{version}", request.module), "zip", spooled, &error).await;
                return Err(error);
            }
        };
        if verdict == Verdict::Unverified {
            // Whoever reads it must have been told so before the first byte.
            return if unverified { Ok(()) } else { Err(Self::database_away(&request.module, version)) };
        }
        let body = match &spooled {
            Spooled::Memory(bytes) => NewBody::Memory(bytes.clone()),
            Spooled::File { path, len, digest, .. } => {
                NewBody::File { path: path.to_path_buf(), len: *len, digest: *digest }
            }
        };
        let placed = self.store.place(body, modified_ms).await?;
        // The temporary file may go only now.
        drop(spooled);
        let (this, module, of, h1) = (Arc::clone(self), request.module.clone(), version.clone(), summary.h1);
        self.commit_part(request, version, placed, move |draft, placed| {
            this.same_identity(&module, &of, draft.identity.zip_h1.as_deref(), Proof::Zip { h1: &h1 })?;
            draft.identity.zip_h1 = Some(h1.clone());
            draft.record.zip = Some(placed.stored);
            Ok(())
        })
        .await
    }

    /// Judges the zip by the rules of `golang.org/x/mod/zip`.
    async fn inspect(
        &self,
        module: &ModulePath,
        version: &Version,
        spooled: Spooled,
    ) -> Result<(Spooled, ZipSummary), RepoError> {
        let (of, at) = (module.clone(), version.clone());
        let judged = blocking(move || {
            let summary = match &spooled {
                Spooled::Memory(bytes) => verify_zip(Cursor::new(bytes), spooled.len(), &of, &at),
                Spooled::File { path, len, .. } => {
                    File::open(path).map_err(ZipError::Io).and_then(|file| verify_zip(file, *len, &of, &at))
                }
            };
            Ok::<_, RepoError>((spooled, summary))
        });
        let (spooled, summary) = judged.await?;
        match summary {
            Ok(summary) => Ok((spooled, summary)),
            Err(error) if error.is_io() => {
                tracing::error!(%module, %version, %error, "a spooled zip cannot be read back");
                Err(RepoError::Storage("a spooled zip cannot be read back".to_owned()))
            }
            Err(error) => {
                let what = format!("{module}@{version}");
                self.figures.refused(&self.name, &what, Refusal::BadZip, &error.to_string());
                let refusal = RepoError::Integrity(format!("{what}: the upstream's zip is not valid: {error}"));
                self.put_aside(what, "zip", spooled, &refusal).await;
                Err(refusal)
            }
        }
    }
}
