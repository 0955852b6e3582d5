//! Tokens that were issued while the center ran: their names, hashes and grants, for all replicas.

use shared::access::TokenEntry;

use super::change_log::encode;
use super::engine::Batch;
use super::metadata::decode;
use super::{Store, StoreError, family};

/// Tokens read at a time.
const PAGE: usize = 1000;

impl Store {
    /// All of them, by name.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenEntry>, StoreError> {
        let mut found = Vec::new();
        let mut after = Vec::new();
        loop {
            let page = self.inner.engine.scan(family::TOKENS, b"", &after, PAGE).await?;
            for (key, value) in &page {
                found.push(decode(key, value)?);
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after.clone_from(key),
                Some(_) | None => return Ok(found),
            }
        }
    }

    /// Keeps one, on disk when this returns; false if there is one of this name.
    pub(crate) async fn add_token(&self, entry: &TokenEntry) -> Result<bool, StoreError> {
        let place = (family::TOKENS, entry.name.clone().into_bytes());
        let mut is_new = false;
        let decide = &mut |found: Vec<Option<bytes::Bytes>>| {
            is_new = found.first().is_none_or(Option::is_none);
            let puts = vec![(place.clone(), encode(entry).into())];
            Ok(is_new.then(|| Batch { puts, sync: true, ..Batch::default() }))
        };
        self.inner.engine.commit(std::slice::from_ref(&place), None, decide).await?;
        Ok(is_new)
    }

    /// Removes one, on disk when this returns; false if there is none of this name.
    pub(crate) async fn remove_token(&self, name: &str) -> Result<bool, StoreError> {
        let place = (family::TOKENS, name.as_bytes().to_vec());
        let mut was_there = false;
        let decide = &mut |found: Vec<Option<bytes::Bytes>>| {
            was_there = found.first().is_some_and(Option::is_some);
            let deletes = vec![place.clone()];
            Ok(was_there.then(|| Batch { deletes, sync: true, ..Batch::default() }))
        };
        self.inner.engine.commit(std::slice::from_ref(&place), None, decide).await?;
        Ok(was_there)
    }
}
