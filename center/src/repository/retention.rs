//! Retention: which versions go because nobody needs them any more.
//!
//! Of a version that goes, the record of its identity stays: what comes back must be the same. What came from an upstream is fetched
//! again when somebody asks for it. What was published here nobody else has, so nothing of a local repository goes unless there is a
//! rule for that repository by its name. Tombstoned versions stay as they are. The bodies are collected afterwards (`store/collect.rs`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};

use super::RepoError;
use crate::store::{Decision, Draft, Store, Subject, VersionRecord, now_ms};

/// What of a repository goes. Without a rule nothing does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetentionRule {
    /// Versions that nobody has asked for in this time.
    pub(crate) unused: Option<Period>,
    /// Versions that were stored longer ago.
    pub(crate) age: Option<Period>,
    /// Beyond this many bytes, the versions that were asked for least recently.
    pub(crate) bytes_max: Option<ByteSize>,
}

/// Why a version goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// Nobody asked for it.
    Unused,
    /// It is too old.
    Age,
    /// There is no room for it.
    Bytes,
}

/// A version that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Leaving {
    /// The repository.
    pub(crate) repository: String,
    /// The module path.
    pub(crate) module: String,
    /// The version.
    pub(crate) version: String,
    /// What it holds, in bytes.
    pub(crate) bytes: u64,
    /// When somebody last asked for it, or it was stored: Unix time in milliseconds.
    pub(crate) last_use_ms: u64,
    /// Why it goes.
    pub(crate) reason: Reason,
}

/// A version that may have to go.
struct Held {
    module: String,
    version: String,
    bytes: u64,
    created_ms: u64,
    last_use_ms: u64,
}

/// Applies the rules. With `dry_run` nothing is changed: the answer says what would go.
pub(crate) async fn retain(
    store: &Store,
    rules: &BTreeMap<String, RetentionRule>,
    dry_run: bool,
) -> Result<Vec<Leaving>, RepoError> {
    let mut all = Vec::new();
    for (repository, rule) in rules {
        let leaving = choose(repository, rule, held(store, repository).await?, now_ms());
        for version in &leaving {
            if !dry_run {
                drop_version(store, version).await?;
            }
        }
        all.extend(leaving);
    }
    Ok(all)
}

async fn held(store: &Store, repository: &str) -> Result<Vec<Held>, RepoError> {
    let mut all = Vec::new();
    store
        .for_each_version(repository, |module, version, record| {
            let bytes = [record.info, record.gomod, record.zip].iter().flatten().map(|stored| stored.len).sum();
            if bytes > 0 && record.tombstone.is_none() {
                let (module, version) = (module.to_owned(), version.to_owned());
                let created_ms = record.created_ms;
                all.push(Held { module, version, bytes, created_ms, last_use_ms: created_ms });
            }
        })
        .await?;
    for version in &mut all {
        let used = store.last_use(repository, &version.module, &version.version).await?;
        version.last_use_ms = version.created_ms.max(used.unwrap_or(0));
    }
    Ok(all)
}

fn choose(repository: &str, rule: &RetentionRule, mut held: Vec<Held>, now_ms: u64) -> Vec<Leaving> {
    let is_over = |since_ms: u64, limit: Option<Period>| {
        limit.is_some_and(|limit| u128::from(now_ms.saturating_sub(since_ms)) > limit.get().as_millis())
    };
    held.sort_by_key(|version| version.last_use_ms);
    let mut bytes: u64 = held.iter().map(|version| version.bytes).sum();
    let mut leaving = Vec::new();
    // By rules of time first: what they take makes room.
    let mut staying = Vec::new();
    let leave = |version: Held, reason: Reason| Leaving {
        repository: repository.to_owned(),
        module: version.module,
        version: version.version,
        bytes: version.bytes,
        last_use_ms: version.last_use_ms,
        reason,
    };
    for version in held {
        let reason = match () {
            () if is_over(version.last_use_ms, rule.unused) => Reason::Unused,
            () if is_over(version.created_ms, rule.age) => Reason::Age,
            () => {
                staying.push(version);
                continue;
            }
        };
        bytes -= version.bytes;
        leaving.push(leave(version, reason));
    }
    let bytes_max = rule.bytes_max.map_or(u64::MAX, ByteSize::bytes);
    for version in staying {
        if bytes <= bytes_max {
            break;
        }
        bytes -= version.bytes;
        leaving.push(leave(version, Reason::Bytes));
    }
    leaving
}

async fn drop_version(store: &Store, leaving: &Leaving) -> Result<(), RepoError> {
    let subject = Subject { repository: &leaving.repository, logs: &[], module: &leaving.module };
    let decide = |draft: &mut Draft| {
        let record = &mut draft.record;
        if record.tombstone.is_some() {
            return Ok::<_, RepoError>(Decision::Keep);
        }
        // Its CREATE stands in the log: it is not told again when it comes back.
        *record = VersionRecord { announced: record.announced, ..VersionRecord::default() };
        Ok(Decision::Write)
    };
    store.commit_version(subject, &leaving.version, &[], decide).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::testing::{Origin, Setup, module_zip};

    const DAY: u64 = 24 * 3600 * 1000;

    fn version(name: &str, bytes: u64, created: u64, last_use: u64) -> Held {
        let (created_ms, last_use_ms) = (created * DAY, last_use * DAY);
        Held { module: name.to_owned(), version: "v1.0.0".to_owned(), bytes, created_ms, last_use_ms }
    }

    fn chosen(rule: &RetentionRule) -> Vec<(String, Reason)> {
        let held = vec![
            version("old-used", 100, 1, 99),
            version("old-unused", 10, 1, 20),
            version("young", 50, 95, 96),
            version("large", 500, 90, 91),
        ];
        choose("r", rule, held, 100 * DAY).into_iter().map(|leaving| (leaving.module, leaving.reason)).collect()
    }

    #[test]
    fn rules_of_time_go_before_the_rule_of_room_and_the_least_recently_used_before_others() {
        let named = |names: &[(&str, Reason)]| {
            names.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect::<Vec<_>>()
        };
        let days = |days: u64| Some(Period::secs(days * 24 * 3600));
        let rule = RetentionRule::default();
        assert_eq!(chosen(&rule), []);
        let unused = RetentionRule { unused: days(30), ..rule.clone() };
        assert_eq!(chosen(&unused), named(&[("old-unused", Reason::Unused)]));
        let age = RetentionRule { age: days(50), ..unused };
        assert_eq!(chosen(&age), named(&[("old-unused", Reason::Unused), ("old-used", Reason::Age)]));
        let room = RetentionRule { bytes_max: Some("200".parse().unwrap()), ..rule.clone() };
        assert_eq!(chosen(&room), named(&[("old-unused", Reason::Bytes), ("large", Reason::Bytes)]));
        let both = RetentionRule { unused: days(30), bytes_max: Some("649".parse().unwrap()), ..rule };
        assert_eq!(chosen(&both), named(&[("old-unused", Reason::Unused), ("large", Reason::Bytes)]));
    }

    #[tokio::test]
    async fn what_went_comes_back_as_it_was_and_what_was_published_stays() {
        let origin = Origin::start().await;
        let setup = Setup::over(&origin).await;
        let zip = origin.serve("example.com/a", "v1.0.0", "module example.com/a\n");
        setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap();
        let own = module_zip("example.com/own", "v1.0.0", "module example.com/own\n", b"package own\n");
        setup.publish("example.com/own", "v1.0.0", &own).await.unwrap();
        let rule = RetentionRule { bytes_max: Some("1".parse().unwrap()), ..RetentionRule::default() };
        let rules = BTreeMap::from([("remote".to_owned(), rule)]);
        let would = retain(&setup.store, &rules, true).await.unwrap();
        assert_eq!(would.iter().map(|leaving| leaving.module.as_str()).collect::<Vec<_>>(), ["example.com/a"]);
        assert_eq!(retain(&setup.store, &rules, false).await.unwrap(), would);
        assert_eq!(retain(&setup.store, &rules, false).await.unwrap(), []);
        assert!(!setup.manifest_lines("virtual").await.contains("example.com/a "));
        let told = setup.changes("virtual").await.len();
        // Other bytes under the old name are refused, the same ones are taken, and nothing is told twice.
        let other = module_zip("example.com/a", "v1.0.0", "module example.com/a\n", b"package evil\n");
        origin.set("example.com/a/@v/v1.0.0.zip", crate::repository::testing::Reply::ok(other));
        assert!(matches!(setup.get("remote", "example.com/a/@v/v1.0.0.zip").await, Err(RepoError::Integrity(_))));
        origin.set("example.com/a/@v/v1.0.0.zip", crate::repository::testing::Reply::ok(zip.clone()));
        assert_eq!(setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
        assert_eq!(setup.get("virtual", "example.com/own/@v/v1.0.0.zip").await.unwrap(), own);
        assert_eq!(setup.changes("virtual").await.len(), told);
        // Its time begins anew: it is not old the moment it is back. A use is known before it is written, and after.
        setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap();
        let record = setup.store.version("remote", "example.com/a", "v1.0.0").await.unwrap().unwrap();
        assert!(record.created_ms > 0);
        for _ in 0..2 {
            let used = setup.store.last_use("remote", "example.com/a", "v1.0.0").await.unwrap();
            assert!(used.is_some_and(|used| used >= record.created_ms), "{used:?}");
            setup.store.write_uses().await.unwrap();
        }
    }
}
