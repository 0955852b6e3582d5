//! What a change means for what is held: wire.md's table, as a function. The cache carries it out, in one batch with the cursor.
//!
//! | event, kind | dropped | made stale |
//! |---|---|---|
//! | CREATE version | negatives of the module; its tombstone | mutables of the module, if the list changed |
//! | any list, latest, query | negatives of the module | the named mutables |
//! | UPDATE version | nothing: refused, unless the digest is the held one | – |
//! | DELETE version | its info, mod, zip; a tombstone is kept | mutables of the module |
//! | DELETE module, all | the same for every version | mutables of the module, of all |
//! | CREATE, UPDATE module, all | negatives | mutables of the module, of all |
//!
//! Any change of a module drops its negatives: whatever came to be may be what was not found.

use shared::change::{Change, EventType, Kind};

/// What a change does to what is held of its module, or of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect<'a> {
    /// The version is there: lifts its tombstone. The mutables of the module become stale, if the list changed.
    Appears(&'a str),
    /// The version is another one than before, which cannot be.
    Contradicts(&'a str),
    /// The version was removed: it goes, a tombstone stays, and the mutables become stale.
    Removed(&'a str),
    /// Every version of the module was removed.
    ModuleRemoved,
    /// Every version of every module was removed.
    AllRemoved,
    /// The module's list is another one.
    ListMoved,
    /// The module's latest version is another one.
    LatestMoved,
    /// A query, or without a name any query of the module, leads elsewhere.
    QueryMoved(Option<&'a str>),
    /// Anything of the module may have changed, but for its versions' own files.
    ModuleMoved,
    /// Anything may have changed, but for versions' own files.
    AllMoved,
}

/// The table.
pub(crate) fn effect(change: &Change) -> Effect<'_> {
    let version = change.version.as_deref();
    match (change.kind, change.event_type) {
        (Kind::Version, event) => match (event, version) {
            (EventType::Create, Some(version)) => Effect::Appears(version),
            (EventType::Update, Some(version)) => Effect::Contradicts(version),
            (EventType::Delete, Some(version)) => Effect::Removed(version),
            // It does not say which: nothing is removed for it, and nothing is trusted that could show it.
            (EventType::Create | EventType::Update | EventType::Delete, None) => Effect::ModuleMoved,
        },
        (Kind::List, _) => Effect::ListMoved,
        (Kind::Latest, _) => Effect::LatestMoved,
        (Kind::Query, _) => Effect::QueryMoved(version),
        (Kind::Module, EventType::Delete) => Effect::ModuleRemoved,
        (Kind::Module, EventType::Create | EventType::Update) => Effect::ModuleMoved,
        (Kind::All, EventType::Delete) => Effect::AllRemoved,
        (Kind::All, EventType::Create | EventType::Update) => Effect::AllMoved,
    }
}

#[cfg(test)]
mod tests {
    use shared::change::{ChangeId, SCHEMA};

    use super::*;

    fn change(event_type: EventType, kind: Kind, version: Option<&str>) -> Change {
        Change {
            id: ChangeId { epoch: 1, seq: 1 },
            repo: "r".to_owned(),
            event_type,
            module_id: "example.com/a".to_owned(),
            version: version.map(ToOwned::to_owned),
            kind,
            timestamp: 0,
            timestamp_ms: None,
            sha256: None,
            h1: None,
            origin: None,
            reason: "publish".to_owned(),
            schema: SCHEMA,
            traceparent: None,
        }
    }

    #[test]
    fn the_table() {
        use EventType::{Create, Delete, Update};
        let rows = [
            (Create, Kind::Version, Some("v1.0.0"), Effect::Appears("v1.0.0")),
            (Update, Kind::Version, Some("v1.0.0"), Effect::Contradicts("v1.0.0")),
            (Delete, Kind::Version, Some("v1.0.0"), Effect::Removed("v1.0.0")),
            (Delete, Kind::Version, None, Effect::ModuleMoved),
            (Update, Kind::List, None, Effect::ListMoved),
            (Update, Kind::Latest, None, Effect::LatestMoved),
            (Update, Kind::Query, Some("main"), Effect::QueryMoved(Some("main"))),
            (Update, Kind::Query, None, Effect::QueryMoved(None)),
            (Delete, Kind::Module, None, Effect::ModuleRemoved),
            (Update, Kind::Module, None, Effect::ModuleMoved),
            (Delete, Kind::All, None, Effect::AllRemoved),
            (Update, Kind::All, None, Effect::AllMoved),
        ];
        for (event, kind, version, wanted) in rows {
            assert_eq!(effect(&change(event, kind, version)), wanted, "{event:?} {kind:?} {version:?}");
        }
    }
}
