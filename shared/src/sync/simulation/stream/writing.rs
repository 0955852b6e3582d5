//! A relay's end of the simulated server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Connection, Data, Redis, SIGN};
use crate::change::{Change, ChangeId};
use crate::sync::writer::{Added, Fence, Lead, StreamStore, StreamWriter, WriteError};

/// Where a relay writes.
pub(in crate::sync::simulation) struct Store {
    pub(in crate::sync::simulation) redis: Arc<Redis>,
    pub(in crate::sync::simulation) holder: String,
}

/// A relay's connection.
#[derive(Clone)]
pub(in crate::sync::simulation) struct Writer {
    connection: Connection,
    holder: String,
}

impl StreamStore for Store {
    type Writer = Writer;

    async fn connect(&self) -> Result<Writer, WriteError> {
        let connection = Connection::open(&self.redis).await.map_err(WriteError::Unavailable)?;
        Ok(Writer { connection, holder: self.holder.clone() })
    }
}

impl Data {
    fn leads(&self, fence: &Fence) -> bool {
        let held = self.lease.as_ref().filter(|(_, until)| *until > Instant::now());
        held.is_some_and(|(holder, _)| *holder == format!("{} {}", fence.term, fence.holder))
    }
}

impl Writer {
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Data) -> T + Send + 'static,
    ) -> Result<T, WriteError> {
        self.connection.call(work).await.map_err(WriteError::Unavailable)
    }

    /// A step that the lease guards.
    async fn guarded<T: Send + 'static>(
        &self,
        fence: &Fence,
        work: impl FnOnce(&mut Data) -> T + Send + 'static,
    ) -> Result<T, WriteError> {
        let (fence, redis) = (fence.clone(), Arc::clone(&self.connection.redis));
        let step = move |data: &mut Data| {
            let may = data.leads(&fence) || !redis.is_fenced;
            may.then(|| {
                redis.witness().wrote(&fence);
                work(data)
            })
        };
        self.call(step).await?.ok_or(WriteError::NotLeading)
    }
}

impl StreamWriter for Writer {
    fn name(&self) -> &'static str {
        "meta:r"
    }

    async fn lead(&mut self, lease: Duration) -> Result<Lead, WriteError> {
        let holder = self.holder.clone();
        let asked = self.call(move |data| {
            let held = data.lease.as_ref().filter(|(_, until)| *until > Instant::now());
            if let Some((_, by)) = held.and_then(|(held, _)| held.split_once(' '))
                && by != holder
            {
                return Lead::Taken { by: by.to_owned() };
            }
            data.terms += 1;
            data.lease = Some((format!("{} {holder}", data.terms), Instant::now() + lease));
            Lead::Ours(Fence { term: data.terms, holder })
        });
        asked.await
    }

    async fn resign(&mut self, fence: &Fence) -> Result<(), WriteError> {
        self.guarded(fence, |data| data.lease = None).await
    }

    async fn last_id(&mut self) -> Result<ChangeId, WriteError> {
        self.call(|data| data.stream.as_ref().map_or(ChangeId::ZERO, |stream| stream.last)).await
    }

    async fn add(&mut self, fence: &Fence, changes: &[Change]) -> Result<Added, WriteError> {
        let (changes, redis) = (changes.to_vec(), Arc::clone(&self.connection.redis));
        let adding = self.guarded(fence, move |data| {
            let stream = data.stream.get_or_insert_default();
            let mut added = Added::default();
            for change in changes {
                if change.id <= stream.last {
                    added.refused += 1;
                } else {
                    added.published += 1;
                    redis.witness().added(stream.last, change.id);
                    stream.last = change.id;
                    stream.kept.insert(change.id, change);
                }
            }
            added
        });
        adding.await
    }

    async fn beat(&mut self, fence: &Fence, head: Option<ChangeId>, lease: Duration) -> Result<(), WriteError> {
        let beating = self.guarded(fence, move |data| {
            let now = Instant::now();
            data.lease = data.lease.take().map(|(holder, _)| (holder, now + lease));
            data.sign = head.map(|head| (head, now + SIGN)).or(data.sign);
        });
        beating.await
    }

    async fn slowest(&mut self) -> Result<Option<ChangeId>, WriteError> {
        self.call(|data| data.seen.values().min().copied()).await
    }

    async fn first_younger(&mut self, _: Duration) -> Result<Option<ChangeId>, WriteError> {
        self.call(|data| data.stream.as_ref().and_then(|stream| stream.kept.keys().next().copied())).await
    }

    async fn trim(&mut self, fence: &Fence, first_kept: ChangeId) -> Result<u64, WriteError> {
        let trimming = self.guarded(fence, move |data| {
            let Some(stream) = &mut data.stream else { return 0 };
            let before = stream.kept.len();
            stream.kept = stream.kept.split_off(&first_kept);
            (before - stream.kept.len()) as u64
        });
        trimming.await
    }

    async fn retire(&mut self, fence: &Fence, _: Duration) -> Result<Vec<String>, WriteError> {
        self.guarded(fence, |_| Vec::new()).await
    }
}
