//! Single flight: at most one fill of a key is under way.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::spool::Spool;
use super::{Fill, FillWriter};

/// Whether a request began a fill or follows one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// This request began it.
    Started,
    /// Another request had begun it.
    Coalesced,
}

/// The fills under way, by key.
#[derive(Debug)]
pub struct Flights<K, H> {
    spool_dir: PathBuf,
    runtime: Handle,
    under_way: Arc<Mutex<HashMap<K, Arc<Fill<H>>>>>,
}

impl<K, H> Flights<K, H>
where
    K: Eq + Hash + Clone + Send + 'static,
    H: Send + Sync + 'static,
{
    /// Fills run on `runtime` and spool large bodies below `spool_dir`, which must exist.
    pub fn new(spool_dir: impl Into<PathBuf>, runtime: Handle) -> Self {
        Self { spool_dir: spool_dir.into(), runtime, under_way: Arc::default() }
    }

    /// Joins the fill of `key`, or begins one with `start`.
    ///
    /// The fill runs in a task of its own and so survives the client that began it. One that has ended is not joined: the next
    /// request after a failure tries again.
    pub fn join<F, Fut>(&self, key: K, start: F) -> (Arc<Fill<H>>, Joined)
    where
        F: FnOnce(FillWriter<H>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut under_way = self.under_way.lock();
        if let Some(fill) = under_way.get(&key).filter(|fill| !fill.has_ended()) {
            return (Arc::clone(fill), Joined::Coalesced);
        }
        let fill = Arc::new(Fill::new(Spool::new(&self.spool_dir)));
        under_way.insert(key.clone(), Arc::clone(&fill));
        drop(under_way);

        let landing = Landing { under_way: Arc::clone(&self.under_way), key, fill: Arc::clone(&fill) };
        let filling = start(FillWriter::new(Arc::clone(&fill)));
        self.runtime.spawn(async move {
            let _landing = landing;
            filling.await;
        });
        (fill, Joined::Started)
    }

    /// The fill of `key` that is under way, if there is one.
    pub fn under_way(&self, key: &K) -> Option<Arc<Fill<H>>> {
        self.under_way.lock().get(key).filter(|fill| !fill.has_ended()).cloned()
    }

    /// How many fills are under way.
    pub fn len(&self) -> usize {
        self.under_way.lock().len()
    }

    /// Whether no fill is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes the fill off the board when its task ends, also by a panic.
struct Landing<K: Eq + Hash, H> {
    under_way: Arc<Mutex<HashMap<K, Arc<Fill<H>>>>>,
    key: K,
    fill: Arc<Fill<H>>,
}

impl<K: Eq + Hash, H> Drop for Landing<K, H> {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        if under_way.get(&self.key).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill)) {
            under_way.remove(&self.key);
        }
    }
}
