//! The regular comparison with the manifest of a scripted center.

use shared::manifest::{only, parts, place_of};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_no_change_told_of_is_found_in_the_manifest() {
    let center = quiet_center().await;
    let edge = TestEdge::start(&center, |config| config.sync.reconcile = shared::config::Period::secs(1));
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    let zip = "example.com/a/@v/v1.0.0.zip";
    center.reply(zip, Reply::right(vec![b'z'; 100_000], Proof::Header));
    edge.get(zip).await;
    assert_eq!(edge.get(zip).await.x_cache(), "HIT");
    let line = format!("tombstone example.com/a v1.0.0 {}\n", "0".repeat(64));
    let bucket = place_of("example.com/a").0;
    center.reply(zip, Reply::Refusal(410, "gone: removed by an administrator"));
    center.reply_api("manifest", manifest_with(id(3), bucket, &line));
    center.reply_api(&format!("manifest/{bucket}"), line);
    soon("the removal is found", async || edge.get(zip).await.status == 410).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_no_change_told_of_is_found_and_what_stands_still_is_not_read_again() {
    let center = quiet_center().await;
    let edge = TestEdge::start(&center, |config| config.sync.reconcile = shared::config::Period::secs(1));
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    edge.get(LIST).await;
    assert_eq!(edge.get(LIST).await.x_cache(), "HIT");
    center.reply(LIST, Reply::right("v1.0.0\nv1.1.0\n", Proof::Header));
    let line = format!("zip example.com/a v1.1.0 {}\n", "1".repeat(64));
    let bucket = place_of("example.com/a").0;
    center.reply_api("manifest", manifest_with(id(3), bucket, &line));
    center.reply_api(&format!("manifest/{bucket}"), line);
    soon("the version is found", async || edge.get(LIST).await.text() == "v1.0.0\nv1.1.0\n").await;
    let compared = center.api_gets("manifest");
    soon("it is compared again and again", async || center.api_gets("manifest") >= compared + 3).await;
    let read = |bucket: usize| center.api_gets(&format!("manifest/{bucket}"));
    assert_eq!((0..256).map(read).sum::<usize>(), 1, "one bucket moved, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_bucket_only_the_parts_that_moved_are_read() {
    let bucket = place_of("example.com/a").0;
    let mut modules: Vec<String> = (0..60_000).map(|number| format!("example.com/m{number}")).collect();
    modules.retain(|module| place_of(module).0 == bucket);
    modules.push("example.com/a".to_owned());
    modules.sort_unstable();
    let lines_of = |version: &str| {
        let version_of = |module: &String| if module == "example.com/a" { version } else { "v1.0.0" }.to_owned();
        let line = |module: &String| format!("zip {module} {} {}\n", version_of(module), "1".repeat(64));
        modules.iter().map(line).collect::<String>()
    };
    let (before, after) = (lines_of("v1.0.0"), lines_of("v1.1.0"));
    let center = Center::start().await;
    center.reply_api("changes", String::new());
    center.reply_api("manifest", manifest_with(id(3), bucket, &before));
    let whole = format!("manifest/{bucket}");
    center.reply_api(&whole, before.clone());
    let edge = TestEdge::start(&center, |config| config.sync.reconcile = shared::config::Period::secs(1));
    soon("the bucket is read", async || center.api_gets(&whole) > 0).await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    edge.get(LIST).await;
    assert_eq!(edge.get(LIST).await.x_cache(), "HIT");

    // The whole one stays as it was: only the part tells of the version that was missed.
    let part = place_of("example.com/a").1;
    let digests = parts(&after);
    assert!(digests.len() > 64, "{}", digests.len());
    let all: Vec<Digest> = (0..=u8::MAX).map(|part| digests.get(&part).copied().unwrap_or(Digest::of(b""))).collect();
    center.reply_api(&format!("{whole}?sub="), serde_json::json!({ "head": id(3), "parts": all }).to_string());
    center.reply_api(&format!("{whole}?sub={part}"), only(&after, &[part].into()));
    center.reply(LIST, Reply::right("v1.0.0\nv1.1.0\n", Proof::Header));
    center.reply_api("manifest", manifest_with(id(3), bucket, &after));
    soon("the version is found", async || edge.get(LIST).await.text() == "v1.0.0\nv1.1.0\n").await;
    assert_eq!(center.api_gets(&whole), 3, "the whole, the digests, the part");
}
