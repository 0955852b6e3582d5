//! Change records: what tells every edge that something in a repository is no longer as it was.
//!
//! The same record is a line of the center's change feed and an entry of a Redis stream; its id is the stream's entry id, so that
//! publishing a record twice is refused by Redis itself.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The version of the record's form that this build writes, and the newest it understands.
pub const SCHEMA: u32 = 1;

/// `<epoch>-<seq>`: the log's creation in Unix milliseconds, and a count without holes from 1.
///
/// A new log has a larger epoch, so ids only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChangeId {
    /// Unix milliseconds at which the log was created.
    pub epoch: u64,
    /// The record's number within the log, from 1.
    pub seq: u64,
}

/// A text that is not `<epoch>-<seq>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("change id {0:?}: not of the form <epoch>-<seq>")]
pub struct ChangeIdError(String);

impl ChangeId {
    /// Before every record of every log.
    pub const ZERO: Self = Self { epoch: 0, seq: 0 };

    /// Whether this is the record right after `previous` in the same log.
    pub const fn follows(self, previous: Self) -> bool {
        self.epoch == previous.epoch && self.seq == previous.seq + 1
    }

    /// The id right after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { epoch: self.epoch, seq: self.seq + 1 }
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl FromStr for ChangeId {
    type Err = ChangeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            // `u64::from_str` takes a leading `+`, which no id has.
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        };
        text.split_once('-')
            .and_then(|(epoch, seq)| Some(Self { epoch: number(epoch)?, seq: number(seq)? }))
            .ok_or_else(|| ChangeIdError(text.to_owned()))
    }
}

impl TryFrom<String> for ChangeId {
    type Error = ChangeIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ChangeId> for String {
    fn from(id: ChangeId) -> Self {
        id.to_string()
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventType {
    /// A version appeared.
    Create,
    /// A list or the latest version changed, or a query moved.
    Update,
    /// A version was tombstoned.
    Delete,
}

/// What it happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One version of a module.
    Version,
    /// The list of a module's versions.
    List,
    /// The latest version of a module.
    Latest,
    /// A branch, a commit or a prefix.
    Query,
    /// Everything of a module.
    Module,
    /// Everything of the repository.
    All,
}

/// One record of a repository's change log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The record's id, unique in the repository and growing.
    pub id: ChangeId,
    /// The repository whose view changed.
    pub repo: String,
    /// What happened.
    pub event_type: EventType,
    /// The unescaped module path; empty for [`Kind::All`].
    #[serde(default)]
    pub module_id: String,
    /// The version, or the query for [`Kind::Query`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it happened to.
    pub kind: Kind,
    /// Unix seconds at which the center recorded the change.
    pub timestamp: u64,
    /// The same in Unix milliseconds, for figures of the way to an edge; a center that is older does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<u64>,
    /// The SHA-256 of the zip, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// The `h1:` of the zip, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h1: Option<String>,
    /// The member repository in which the change arose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Why: `publish`, `fill`, `refresh`, `delete`, `restore`.
    #[serde(default)]
    pub reason: String,
    /// The form of the record; see [`SCHEMA`].
    pub schema: u32,
    /// W3C trace context of the request that caused the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// A stream entry that is not a change record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The entry's fields do not make a record.
    #[error("change record {id}: {reason}")]
    Malformed {
        /// The entry's id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer center wrote it.
    #[error("change record {id}: schema {schema} is newer than {SCHEMA}")]
    UnknownSchema {
        /// The entry's id.
        id: String,
        /// The schema it names.
        schema: u32,
    },
}

impl Change {
    /// The record as the fields of a stream entry (all but the id, which is the entry's own).
    pub fn to_fields(&self) -> Vec<(String, String)> {
        // Serialised through the one JSON form, so that feed and stream cannot drift apart.
        let serde_json::Value::Object(members) = serde_json::to_value(self).unwrap_or_default() else {
            return Vec::new();
        };
        members
            .into_iter()
            .filter(|(name, _)| name != "id")
            .map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                (name, text)
            })
            .collect()
    }

    /// Reads a stream entry's fields back; unknown fields are passed over.
    pub fn from_fields<'a>(
        id: &str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ChangeError> {
        let malformed = |reason: String| ChangeError::Malformed { id: id.to_owned(), reason };
        let mut members = serde_json::Map::new();
        members.insert("id".to_owned(), id.into());
        for (name, text) in fields {
            let value = match name {
                "timestamp" | "timestamp_ms" | "schema" => {
                    let number: u64 = text.parse().map_err(|_| malformed(format!("{name} {text:?}: not a number")))?;
                    number.into()
                }
                _ => text.into(),
            };
            members.insert(name.to_owned(), value);
        }
        let change: Self = serde_json::from_value(members.into()).map_err(|e| malformed(e.to_string()))?;
        change.check_schema()
    }

    /// When the center recorded the change, in Unix milliseconds: as exactly as the record says it.
    pub fn recorded_ms(&self) -> u64 {
        self.timestamp_ms.unwrap_or_else(|| self.timestamp.saturating_mul(1000))
    }

    /// Refuses a record of a form this build does not know.
    pub fn check_schema(self) -> Result<Self, ChangeError> {
        if self.schema > SCHEMA {
            return Err(ChangeError::UnknownSchema { id: self.id.to_string(), schema: self.schema });
        }
        Ok(self)
    }
}

/// What a record that this build cannot read may mean at most: anything may have changed.
pub fn anything_changed(id: ChangeId, repo: &str) -> Change {
    Change {
        id,
        repo: repo.to_owned(),
        event_type: EventType::Update,
        module_id: String::new(),
        version: None,
        kind: Kind::All,
        timestamp: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        timestamp_ms: None,
        sha256: None,
        h1: None,
        origin: None,
        reason: "unreadable record".to_owned(),
        schema: SCHEMA,
        traceparent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Change {
        Change {
            id: ChangeId { epoch: 1_763_670_000_000, seq: 42 },
            repo: "golang-virtual".to_owned(),
            event_type: EventType::Create,
            module_id: "example.com/a".to_owned(),
            version: Some("v1.2.0".to_owned()),
            kind: Kind::Version,
            timestamp: 1_763_671_234,
            timestamp_ms: Some(1_763_671_234_567),
            sha256: Some(Digest::of(b"zip")),
            h1: Some("h1:abc=".to_owned()),
            origin: Some("golang-local".to_owned()),
            reason: "publish".to_owned(),
            schema: SCHEMA,
            traceparent: None,
        }
    }

    #[test]
    fn ids_read_back_and_grow_with_epoch_then_seq() {
        let id: ChangeId = "1763670000000-42".parse().unwrap();
        assert_eq!(id.to_string(), "1763670000000-42");
        assert!(id.next().follows(id) && id.next() > id);
        assert!(ChangeId { epoch: id.epoch + 1, seq: 1 } > id);
        assert!(!ChangeId { epoch: id.epoch + 1, seq: 43 }.follows(id));
        for wrong in ["", "1", "1-", "-1", "1-2-3", "+1-2", "a-1", "1- 2"] {
            assert!(wrong.parse::<ChangeId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn feed_line_and_stream_entry_say_the_same() {
        let change = sample();
        let line = serde_json::to_string(&change).unwrap();
        assert!(line.contains(r#""event_type":"CREATE""#) && line.contains(r#""kind":"version""#), "{line}");
        assert_eq!(serde_json::from_str::<Change>(&line).unwrap(), change);

        let fields = change.to_fields();
        assert!(fields.iter().all(|(name, _)| name != "id"));
        let borrowed = fields.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        assert_eq!(Change::from_fields(&change.id.to_string(), borrowed), Ok(change));
    }

    #[test]
    fn a_record_without_milliseconds_was_made_in_its_second() {
        let change = sample();
        assert_eq!(change.recorded_ms(), 1_763_671_234_567);
        let older = Change { timestamp_ms: None, ..change };
        assert_eq!(older.recorded_ms(), 1_763_671_234_000);
        let line = serde_json::to_string(&older).unwrap();
        assert!(!line.contains("timestamp_ms"), "{line}");
        assert_eq!(serde_json::from_str::<Change>(&line).unwrap(), older);
    }

    #[test]
    fn garbage_and_newer_forms_are_told_apart() {
        assert!(matches!(Change::from_fields("1-1", [("schema", "x")]), Err(ChangeError::Malformed { .. })));
        assert!(matches!(Change::from_fields("1-1", []), Err(ChangeError::Malformed { .. })));
        let newer = Change { schema: 2, ..sample() };
        assert!(matches!(newer.check_schema(), Err(ChangeError::UnknownSchema { schema: 2, .. })));
    }
}
