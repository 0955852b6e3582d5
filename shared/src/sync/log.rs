//! The center's change log as its feed shows it: `GET /api/v1/repos/<r>/changes`.

use std::time::Duration;

use crate::change::{Change, ChangeId, anything_changed};

/// Most records that one answer may hold.
pub const PAGE_RECORDS_MAX: usize = 1000;

/// Most bytes that one answer may hold: a record is some hundred bytes.
pub const PAGE_BYTES_MAX: usize = 16 << 20;

/// Header with the id of the newest record.
pub const CHANGE_HEAD: &str = "x-change-head";

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The records after the asked id, in order; empty when none came in time.
    pub changes: Vec<Change>,
    /// The newest record of the log.
    pub head: ChangeId,
}

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The log has no such place (any more, or yet).
    #[error("the log has nothing after {0}")]
    Gone(ChangeId),
    /// The center did not answer, or with an error.
    #[error("change feed: {0}")]
    Unavailable(String),
    /// The answer is not what a feed says.
    #[error("change feed: {0}")]
    Malformed(String),
}

/// Reading the log.
pub trait Log: Send + Sync {
    /// The records after `after`, at most `limit`; waits up to `wait` for the first. [`ChangeId::ZERO`] is before all that is kept.
    fn page(
        &self,
        after: ChangeId,
        wait: Duration,
        limit: usize,
    ) -> impl Future<Output = Result<Page, LogError>> + Send;

    /// The newest record's id, at once. `after` is where the asker believes the log to be.
    fn head(&self, after: ChangeId) -> impl Future<Output = Result<ChangeId, LogError>> + Send {
        async move {
            match self.page(after, Duration::ZERO, 1).await {
                Ok(page) => Ok(page.head),
                // The log moved on or began anew: its beginning is always a place in it.
                Err(LogError::Gone(_)) if after != ChangeId::ZERO => {
                    self.page(ChangeId::ZERO, Duration::ZERO, 1).await.map(|page| page.head)
                }
                Err(error) => Err(error),
            }
        }
    }
}

impl Page {
    /// Reads an answer's header and lines.
    ///
    /// A record of a form that this build does not know is taken as a change of everything: what it means is unknown, that
    /// it happened is not.
    ///
    /// # Errors
    /// When a line has not even an id.
    pub fn read(head: Option<&str>, body: &[u8], repo: &str) -> Result<Self, LogError> {
        let head: ChangeId = head
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| LogError::Malformed(format!("the answer has no valid {CHANGE_HEAD}")))?;
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let changes: Vec<Change> = lines.map(|line| record(line, repo)).collect::<Result<_, _>>()?;
        // Records may be committed between the head's reading and the body's: the page itself is the better witness.
        let head = changes.last().map_or(head, |last| head.max(last.id));
        Ok(Self { changes, head })
    }

    /// The page, if its ids grow and are after the one that was asked for.
    pub(crate) fn in_order(self, after: ChangeId) -> Result<Self, LogError> {
        let mut last = after;
        for change in &self.changes {
            if change.id <= last {
                return Err(LogError::Malformed(format!("record {} follows {last}", change.id)));
            }
            last = change.id;
        }
        Ok(self)
    }
}

fn record(line: &[u8], repo: &str) -> Result<Change, LogError> {
    #[derive(serde::Deserialize)]
    struct OnlyId {
        id: ChangeId,
    }
    let read = serde_json::from_slice::<Change>(line).map_err(|error| error.to_string());
    match read.and_then(|change| change.check_schema().map_err(|error| error.to_string())) {
        Ok(change) => Ok(change),
        Err(error) => {
            let OnlyId { id } = serde_json::from_slice(line)
                .map_err(|_| LogError::Malformed(format!("a line is no record: {error}")))?;
            tracing::warn!(%id, %error, "a change record cannot be read: taken as a change of everything");
            Ok(anything_changed(id, repo))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Kind;

    const HEAD: Option<&str> = Some("5-9");

    fn id(seq: u64) -> ChangeId {
        ChangeId { epoch: 5, seq }
    }

    fn line(seq: u64) -> String {
        serde_json::to_string(&anything_changed(id(seq), "r")).unwrap() + "\n"
    }

    #[test]
    fn lines_are_records_and_the_head_is_never_behind_them() {
        let body = format!("{}\n{}", line(8), line(11));
        let page = Page::read(HEAD, body.as_bytes(), "r").unwrap();
        assert_eq!(page.changes.iter().map(|change| change.id).collect::<Vec<_>>(), [id(8), id(11)]);
        assert_eq!(page.head, id(11));
        assert_eq!(Page::read(HEAD, b"", "r").unwrap(), Page { changes: vec![], head: id(9) });
    }

    #[test]
    fn a_record_of_a_newer_form_changes_everything() {
        let line = br#"{"id":"5-7","repo":"r","event_type":"EXPLODE","kind":"cosmos","schema":2}"#;
        let page = Page::read(HEAD, line, "r").unwrap();
        assert_eq!((page.changes[0].id, page.changes[0].kind), (id(7), Kind::All));
    }

    #[test]
    fn what_is_no_feed_is_told() {
        for (head, body) in [(None, ""), (Some("x"), ""), (HEAD, "{}"), (HEAD, "<html>"), (HEAD, "{\"id\":\"5\"}")] {
            assert!(matches!(Page::read(head, body.as_bytes(), "r"), Err(LogError::Malformed(_))), "{head:?} {body}");
        }
    }

    #[test]
    fn ids_that_do_not_grow_are_no_order() {
        let page = |seqs: &[u64]| {
            let body: String = seqs.iter().map(|seq| line(*seq)).collect();
            Page::read(HEAD, body.as_bytes(), "r").unwrap()
        };
        assert!(page(&[7, 8]).in_order(id(6)).is_ok());
        assert!(page(&[7, 8]).in_order(id(7)).is_err());
        assert!(page(&[8, 7]).in_order(id(6)).is_err());
        assert!(page(&[7, 7]).in_order(id(6)).is_err());
    }
}
