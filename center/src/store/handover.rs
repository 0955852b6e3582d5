//! Giving the data directory to the next process, and taking it back.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Store, StoreError};

/// How long a center may take to end whose place another takes.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// A data directory that is locked against other processes, and other stores of this one.
pub(super) struct DirectoryLock {
    directory: PathBuf,
    held: Mutex<Option<File>>,
}

impl Store {
    /// Closes what only one process may have open. What asks for it from then on finds [`StoreError::Closed`].
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.inner.engine.close().await?;
        if let Some(lock) = &self.inner.lock {
            lock.held.lock().take();
        }
        Ok(())
    }

    /// Opens it again: nobody has taken it.
    pub(crate) async fn reopen(&self) -> Result<(), StoreError> {
        if let Some(lock) = &self.inner.lock {
            let file = lock_directory(&lock.directory).await?;
            *lock.held.lock() = Some(file);
        }
        self.inner.engine.reopen().await
    }
}

impl DirectoryLock {
    pub(super) async fn take(directory: &Path) -> Result<Self, StoreError> {
        let held = Mutex::new(Some(lock_directory(directory).await?));
        Ok(Self { directory: directory.to_owned(), held })
    }
}

async fn lock_directory(path: &Path) -> Result<File, StoreError> {
    let failed = |reason: String| StoreError::Directory { path: path.to_owned(), reason };
    let file = File::create(path.join("lock")).map_err(|error| {
        failed(format!("cannot write into it: {error}; check its owner, its permissions and the free space"))
    })?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(TryLockError::WouldBlock) => {
                let used = "it is in use by another process; stop that one or set another data directory";
                return Err(failed(used.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(format!("cannot lock it: {error}"))),
        }
    }
}
