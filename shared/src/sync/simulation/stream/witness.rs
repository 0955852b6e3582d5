//! Who watches what relays do to the stream, and knows the log besides.
//!
//! Only one leads: when a term has written, no earlier one writes any more. And no record is lost between two entries: what the log
//! keeps comes in its order, without a hole.

use std::sync::Arc;

use super::super::center::Center;
use crate::change::ChangeId;
use crate::sync::writer::Fence;

/// What a deposed leader is found out by.
pub(in crate::sync::simulation) const DEPOSED: &str = "a deposed leader wrote";

pub(super) struct Witness {
    log: Arc<Center>,
    leading: Option<Fence>,
    deposed: Vec<Fence>,
    broken: Option<String>,
}

impl Witness {
    pub(super) fn new(log: &Arc<Center>) -> Self {
        Self { log: Arc::clone(log), leading: None, deposed: Vec::new(), broken: None }
    }

    /// What must never have happened, and did.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.clone()
    }

    /// Redis is not what it was before: the count of terms may begin anew.
    pub(super) fn forget(&mut self) {
        (self.leading, self.deposed) = (None, Vec::new());
    }

    /// A step was carried out for this term.
    pub(super) fn wrote(&mut self, fence: &Fence) {
        if self.leading.as_ref() == Some(fence) {
            return;
        }
        if self.deposed.contains(fence) {
            self.broken = Some(format!("{DEPOSED}: {fence:?}, while {:?} leads", self.leading));
        }
        self.deposed.extend(self.leading.replace(fence.clone()));
    }

    /// An entry comes after another one, or is the first of a new stream.
    pub(super) fn added(&mut self, last: ChangeId, id: ChangeId) {
        if last != ChangeId::ZERO && self.log.keeps_between(last, id) {
            self.broken = Some(format!("{id} came after {last}, and the log has what is between them"));
        }
    }
}
