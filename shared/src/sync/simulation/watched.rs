//! A value that can be waited for. Those who wait are woken in the order in which they came, so that a seed always gives the
//! same course; tokio's own wakes them in an order that it draws.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A value and who waits for it.
pub(super) struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Watched<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    pub(super) fn get(&self) -> T {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
        self.changed.notify_waiters();
    }

    /// Waits until the value pleases.
    pub(super) async fn wait_for(&self, pleases: impl Fn(T) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if pleases(self.get()) {
                return;
            }
            changed.await;
        }
    }
}

impl Watched<u64> {
    /// Something changed.
    pub(super) fn count(&self) {
        self.set(self.get() + 1);
    }
}
