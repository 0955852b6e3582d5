//! An honest database is believed, and each way of lying is seen.

mod against_go;

use std::sync::Arc;

use axum::http::StatusCode;
use ed25519_dalek::SigningKey;
use http::HeaderValue;
use shared::client::{ClientOptions, http_client};

use super::*;
use crate::store::{Store, StoreConfig};
use crate::sumdb::origin::Upstream;
use crate::sumdb::test_log::{Log, NAME, Served, public_key_text, serve, sign_note, signing_key};

struct Fixture {
    database: Database,
    served: Arc<Served>,
    key: SigningKey,
    base: String,
    store: Store,
    _directory: tempfile::TempDir,
}

impl Fixture {
    async fn new(log: Log) -> Self {
        let key = signing_key(1);
        let (base, served) = serve(log, key.clone()).await;
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::new(directory.path().to_owned())).unwrap();
        let database = database(&base, &store, &key);
        Self { database, served, key, base, store, _directory: directory }
    }

    /// The same after a restart: only what is stored is left.
    fn restarted(&self) -> Database {
        database(&self.base, &self.store, &self.key)
    }

    async fn check(&self, number: usize) -> Result<(), DatabaseError> {
        check(&self.database, number, "").await
    }
}

fn database(base: &str, store: &Store, key: &SigningKey) -> Database {
    let client = http_client(ClientOptions::default()).unwrap();
    let via = HeaderValue::from_static("1.1 test");
    let upstream = Upstream { base: base.parse().unwrap(), client, authorization: None, via };
    let origin = Arc::new(Origin::new(NAME, Some(upstream), store.clone()));
    Database::new(NoteKey::parse(&public_key_text(NAME, key)).unwrap(), origin)
}

async fn check(database: &Database, number: usize, salt: &str) -> Result<(), DatabaseError> {
    let module = format!("m.test/m{number}");
    let lookup = format!("{module}@v1.0.0");
    database.check(&lookup, &module, "v1.0.0", &format!("h1:zip{number}{salt}=")).await?;
    database.check(&lookup, &module, "v1.0.0/go.mod", &format!("h1:mod{number}{salt}=")).await
}

fn reason(outcome: Result<(), DatabaseError>) -> &'static str {
    match outcome {
        Err(DatabaseError::Unproven { reason, .. }) => reason,
        other => panic!("expected an unproven record, got {other:?}"),
    }
}

#[tokio::test]
async fn an_honest_database_is_believed_at_every_size() {
    for size in [1, 2, 255, 256, 257, 700] {
        let fixture = Fixture::new(Log::of(size, "")).await;
        for number in [0, size / 2, size - 1] {
            assert_eq!(fixture.check(number).await, Ok(()), "record {number} of {size}");
        }
    }
}

#[tokio::test]
async fn a_growing_log_is_followed_and_old_records_stay_proven() {
    let fixture = Fixture::new(Log::of(100, "")).await;
    assert_eq!(fixture.check(3).await, Ok(()));
    for size in [101, 300, 600] {
        *fixture.served.log.lock() = Log::of(size, "");
        assert_eq!(fixture.check(size - 1).await, Ok(()), "size {size}");
        assert_eq!(fixture.check(3).await, Ok(()), "the record kept from the smaller tree");
    }
    // A mirror that lags behind shows an older head of the same history.
    *fixture.served.log.lock() = Log::of(450, "");
    assert_eq!(fixture.check(440).await, Ok(()));
}

#[tokio::test]
async fn another_hash_is_a_mismatch_and_an_unknown_version_is_not_accepted() {
    let fixture = Fixture::new(Log::of(10, "")).await;
    let wrong = fixture.database.check("m.test/m1@v1.0.0", "m.test/m1", "v1.0.0", "h1:evil=").await;
    assert!(matches!(&wrong, Err(DatabaseError::Mismatch(text)) if text.contains("h1:zip1=")), "{wrong:?}");
    let unknown = fixture.check(11).await;
    assert!(matches!(unknown, Err(DatabaseError::Unknown(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_record_with_other_hashes_is_not_in_the_tree() {
    let fixture = Fixture::new(Log::of(300, "")).await;
    let honest = fixture.served.log.lock().lookup("m.test/m7@v1.0.0", &fixture.key).unwrap();
    let forged = honest.replace("h1:zip7=", "h1:evil=");
    fixture.served.lie("lookup/m.test/m7@v1.0.0", StatusCode::OK, forged);
    let outcome = fixture.database.check("m.test/m7@v1.0.0", "m.test/m7", "v1.0.0", "h1:evil=").await;
    assert_eq!(reason(outcome), "the record is not in the tree");
    // Nothing of the lie stays: the next honest answer heals it, although the lie was kept.
    fixture.served.be_honest();
    assert_eq!(fixture.check(7).await, Ok(()));
}

#[tokio::test]
async fn the_record_of_another_module_is_no_answer() {
    let fixture = Fixture::new(Log::of(300, "")).await;
    let other = fixture.served.log.lock().lookup("m.test/m8@v1.0.0", &fixture.key).unwrap();
    fixture.served.lie("lookup/m.test/m7@v1.0.0", StatusCode::OK, other);
    let outcome = fixture.check(7).await;
    assert!(matches!(outcome, Err(DatabaseError::Origin(OriginError::Wrong(_)))), "{outcome:?}");
}

#[tokio::test]
async fn a_record_under_another_number_is_not_in_the_tree() {
    let fixture = Fixture::new(Log::of(300, "")).await;
    let honest = fixture.served.log.lock().lookup("m.test/m7@v1.0.0", &fixture.key).unwrap();
    for (number, expected) in [
        ("8", "the record is not in the tree"),
        ("400", "the signed tree does not reach that far"),
        ("299999", "the signed tree does not reach that far"),
    ] {
        let moved = format!("{number}{}", honest.strip_prefix('7').unwrap());
        fixture.served.lie("lookup/m.test/m7@v1.0.0", StatusCode::OK, moved);
        let got = reason(fixture.check(7).await);
        assert!(got == expected || got == "the record's number is beyond the tree", "{number}: {got}");
    }
}

#[tokio::test]
async fn wrong_tiles_are_seen_at_every_level() {
    for path in ["tile/8/0/000", "tile/8/0/001", "tile/8/0/002.p/188", "tile/8/1/000.p/2"] {
        let fixture = Fixture::new(Log::of(700, "")).await;
        let width = path.split_once(".p/").map_or(256, |(_, width)| width.parse::<usize>().unwrap());
        fixture.served.lie(path, StatusCode::OK, vec![7; width * 32]);
        let outcomes = [fixture.check(0).await, fixture.check(300).await, fixture.check(699).await];
        assert!(outcomes.iter().any(Result::is_err), "{path}: nobody noticed");
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert!(reason(outcome).contains("tile"), "{path}");
        }
        // The wrong tile was kept by the proxy; it is asked for again and replaced.
        fixture.served.be_honest();
        for number in [0, 300, 699] {
            assert_eq!(fixture.check(number).await, Ok(()), "{path} after healing");
        }
    }
}

#[tokio::test]
async fn a_truncated_tile_or_record_is_refused_and_not_kept() {
    let fixture = Fixture::new(Log::of(700, "")).await;
    let tile = fixture.served.log.lock().tile(0, 0, 256).unwrap();
    fixture.served.lie("tile/8/0/000", StatusCode::OK, tile[..tile.len() - 1].to_vec());
    let outcome = fixture.check(0).await;
    assert!(matches!(outcome, Err(DatabaseError::Origin(OriginError::Wrong(_)))), "{outcome:?}");
    let honest = fixture.served.log.lock().lookup("m.test/m5@v1.0.0", &fixture.key).unwrap();
    fixture.served.lie("lookup/m.test/m5@v1.0.0", StatusCode::OK, &honest.as_bytes()[..honest.len() - 10]);
    assert!(fixture.check(5).await.is_err());
    fixture.served.be_honest();
    assert_eq!(fixture.check(0).await, Ok(()));
    assert_eq!(fixture.check(5).await, Ok(()));
}

#[tokio::test]
async fn forged_heads_are_refused() {
    let fixture = Fixture::new(Log::of(300, "")).await;
    let path = "lookup/m.test/m7@v1.0.0";
    let honest = fixture.served.log.lock().lookup("m.test/m7@v1.0.0", &fixture.key).unwrap();
    // Signed by somebody else, altered after signing, and signed over a tree that its tiles do not make.
    let other = fixture.served.log.lock().lookup("m.test/m7@v1.0.0", &signing_key(2)).unwrap();
    let altered = honest.replace("tree\n300\n", "tree\n299\n");
    assert_ne!(altered, honest);
    for forged in [other, altered] {
        fixture.served.lie(path, StatusCode::OK, forged);
        assert_eq!(reason(fixture.check(7).await), "the tree head is not signed by it");
    }
    let (record, _) = honest.split_once("\n\n").unwrap();
    let text = format!("go.sum database tree\n300\n{}=\n", "A".repeat(43));
    let baseless = format!("{record}\n\n{}", sign_note(NAME, &fixture.key, &text));
    fixture.served.lie(path, StatusCode::OK, baseless);
    assert_eq!(reason(fixture.check(7).await), "its tiles do not make the signed tree head");
}

#[tokio::test]
async fn a_fork_ends_all_trust_also_after_a_restart() {
    for (size, forked_size) in [(300, 300), (300, 310), (300, 290), (300, 900), (600, 300)] {
        let fixture = Fixture::new(Log::of(size, "")).await;
        assert_eq!(fixture.check(0).await, Ok(()));
        // Another history with the same key: proofs within it are all right.
        *fixture.served.log.lock() = Log::of(forked_size, "x");
        let restarted = fixture.restarted();
        for database in [&fixture.database, &restarted] {
            let outcome = check(database, 5, "x").await;
            assert!(outcome.is_err(), "{size} against {forked_size}: accepted");
            // A shorter history lacks the tiles by which the fork would be proven; the others are proven forks.
            let proven = matches!(outcome, Err(DatabaseError::Forked(_)));
            assert!(proven || forked_size < size, "{size} against {forked_size}: {outcome:?}");
            // Not by mistake of one record: after a fork that is seen, nothing is accepted, the honest history neither.
            if matches!(outcome, Err(DatabaseError::Forked(_))) {
                assert!(matches!(check(database, 0, "").await, Err(DatabaseError::Forked(_))));
            }
        }
    }
}

#[tokio::test]
async fn a_fork_that_leaves_the_last_tile_alone_is_seen() {
    // The two histories differ in the first tile only: a head that borrowed the proven tiles of the other would pass.
    let fixture = Fixture::new(Log::of(300, "")).await;
    assert_eq!(fixture.check(0).await, Ok(()));
    assert_eq!(fixture.check(299).await, Ok(()));
    let mut forked = Log::default();
    for i in 0..310 {
        let salt = if i < 10 { "x" } else { "" };
        forked.add(&format!("m.test/m{i}"), "v1.0.0", &format!("h1:zip{i}{salt}="), &format!("h1:mod{i}{salt}="));
    }
    *fixture.served.log.lock() = forked;
    let outcome = fixture.check(305).await;
    assert!(matches!(outcome, Err(DatabaseError::Forked(_))), "{outcome:?}");
}

#[tokio::test]
async fn what_was_proven_is_proven_again_while_the_database_is_away() {
    let fixture = Fixture::new(Log::of(700, "")).await;
    for number in [0, 300, 699] {
        assert_eq!(fixture.check(number).await, Ok(()));
    }
    fixture.served.fail();
    let restarted = fixture.restarted();
    for number in [0, 300, 699] {
        assert_eq!(check(&restarted, number, "").await, Ok(()), "record {number}");
    }
    let outcome = check(&restarted, 5, "").await;
    assert!(matches!(outcome, Err(DatabaseError::Origin(OriginError::Wrong(_)))), "{outcome:?}");
}

#[tokio::test]
async fn a_partial_tile_that_was_filled_since_is_cut_from_the_full_one() {
    let fixture = Fixture::new(Log::of(300, "")).await;
    let old = fixture.served.log.lock().lookup("m.test/m290@v1.0.0", &fixture.key).unwrap();
    *fixture.served.log.lock() = Log::of(600, "");
    fixture.served.lie("lookup/m.test/m290@v1.0.0", StatusCode::OK, old);
    fixture.served.lie("tile/8/0/001.p/44", StatusCode::NOT_FOUND, "gone");
    assert_eq!(fixture.check(290).await, Ok(()));
    assert_eq!(fixture.served.asked("tile/8/0/001"), 1);
}
