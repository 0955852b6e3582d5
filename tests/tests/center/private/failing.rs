//! Only what is known to be absent is 404: what cannot be read, or may not be, is another error, and nobody else is asked.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use modtier_tests::forge::PASSWORD;
use modtier_tests::{Cluster, Module, until};
use serde_json::json;

use super::place::{GIT, Place, Settings, VANITY};

async fn status(cluster: &Cluster, path: &str) -> (u16, String) {
    let reply = cluster.repository_web("golang-virtual").get(path).await;
    (reply.status, reply.text())
}

/// A forge with one module, whose public namesake is higher.
async fn place() -> Place {
    let place = Place::new().await;
    let module = format!("{VANITY}/lib");
    place.forge.repository("team/lib").release(&module, "v1.0.0");
    place.forge.import(&module, "git", &format!("https://{GIT}/team/lib"));
    place.origin.publish(&Module::new(&module, "v9.0.0").package().build());
    place
}

async fn with(place: &Place, change: impl FnOnce(&mut Settings)) -> Cluster {
    let mut settings = place.settings();
    change(&mut settings);
    place.builder(&settings).sumdb_names("sum.golang.org").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_and_is_not_there_is_not_found() {
    let place = place().await;
    let cluster = with(&place, |_| {}).await;
    for (artefact, word) in [
        ("lib/@v/v1.0.1.info", "unknown revision v1.0.1"),
        ("lib/@v/v1.0.1.zip", "unknown revision v1.0.1"),
        ("lib/@v/no-such-branch.info", "unknown revision no-such-branch"),
        ("lib/nowhere/@v/list", "no matching versions"),
        ("lib/v2/@v/v2.0.0.info", "unknown revision v2.0.0"),
    ] {
        let (status, text) = status(&cluster, &format!("{VANITY}/{artefact}")).await;
        assert_eq!(status, 404, "{artefact}: {text}\n{}", cluster.center.log());
        assert!(text.contains(word), "{artefact}: {text}");
    }
    // What could be an option or a path on a command line is not asked.
    let asked = place.forge.asked().len();
    for artefact in ["lib/@v/-x.info", "lib/@v/--upload-pack=x.info", "lib/@v/..%2Fx.info", "lib/@v/none.info"] {
        let (status, text) = status(&cluster, &format!("{VANITY}/{artefact}")).await;
        assert!(matches!(status, 400 | 403), "{artefact}: {status} {text}");
    }
    assert_eq!(place.forge.asked().len(), asked);
    assert_eq!(place.leaked(), [""; 0], "the public origin was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_credential_a_host_that_is_down_and_a_refused_one_are_told_apart() {
    let place = place().await;
    let wrong = with(&place, |settings| {
        settings.repository["fetcher"]["hosts"][GIT]["password_env"] = json!("FORGE_SECRET");
    });
    // A credential that is put right in its file is taken from then on.
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "expired").unwrap();
    let renewed = with(&place, |settings| {
        settings.repository["fetcher"]["hosts"][GIT]["password_env"] = json!(null);
        settings.repository["fetcher"]["hosts"][GIT]["password_file"] = json!(token.path());
    });
    let down = with(&place, |settings| {
        // Nobody listens on port 1.
        settings.egress["connect_to"][format!("{GIT}:443")] = json!("127.0.0.1:1");
    });
    let refused = with(&place, |settings| {
        settings.egress["internal_hosts"] = json!([VANITY]);
    });
    let untrusted = with(&place, |settings| {
        settings.repository["fetcher"]["hosts"][GIT] = json!({ "username": "ci", "password_env": "FORGE_PASSWORD" });
    });
    let (wrong, renewed, down, refused, untrusted) = tokio::join!(wrong, renewed, down, refused, untrusted);
    let list = format!("{VANITY}/lib/@v/list");
    assert_eq!(status(&renewed, &list).await.0, 502);
    std::fs::write(token.path(), PASSWORD).unwrap();
    assert_eq!(status(&renewed, &list).await.0, 200);
    for (name, cluster, expected) in
        [("wrong", &wrong, 502), ("down", &down, 503), ("refused", &refused, 403), ("untrusted", &untrusted, 502)]
    {
        for artefact in ["lib/@v/list", "lib/@latest", "lib/@v/v1.0.0.zip"] {
            let (status, text) = status(cluster, &format!("{VANITY}/{artefact}")).await;
            assert_eq!(status, expected, "{name} {artefact}: {text}\n{}", cluster.center.log());
            assert!(!text.contains(GIT), "the answer names the host: {text}");
        }
        // Nor does the checksum database hear of it.
        let (status, text) = status(cluster, &format!("sumdb/sum.golang.org/lookup/{VANITY}/lib@v1.0.0")).await;
        assert_eq!(status, 403, "{name}: {text}");
        assert!(!cluster.center.log().contains(super::place::SECRET), "{name}: the password is in the log");
    }
    assert_eq!(place.leaked(), [""; 0], "the public origin was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_listing_is_paid_once_and_delays_nothing_that_is_held() {
    let place = place().await;
    let cluster = with(&place, |settings| {
        // Old as soon as it is there.
        settings.repository["metadata_period"] = json!("0s");
        settings.repository["fetcher"]["workers"] = json!(1);
    })
    .await;
    let web = cluster.repository_web("golang-private");
    let (list, zip) = (format!("{VANITY}/lib/@v/list"), format!("{VANITY}/lib/@v/v1.0.0.zip"));
    assert_eq!(web.get(&zip).await.status, 200);
    let slow = Duration::from_secs(3);
    place.forge.set_delay(slow);
    let begun = Instant::now();
    let first = tokio::spawn({
        let (web, list) = (web.clone(), list.clone());
        async move { web.get(&list).await }
    });
    // While the only worker waits for the host, what is held is there at once.
    while !first.is_finished() {
        let asked = Instant::now();
        assert_eq!(web.get(&zip).await.status, 200);
        assert!(asked.elapsed() < slow * 2 / 3, "a hit took {:?}", asked.elapsed());
    }
    assert_eq!(first.await.unwrap().text(), "v1.0.0\n");
    assert!(begun.elapsed() >= slow, "the host was not asked");
    let asked = Instant::now();
    let again = web.get(&list).await;
    assert_eq!((again.text().as_str(), again.header("x-cache")), ("v1.0.0\n", "STALE"));
    assert!(asked.elapsed() < slow * 2 / 3, "the listing was paid twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_killed_and_is_a_time_out() {
    let place = place().await;
    place.forge.set_delay(Duration::from_mins(5));
    let cluster = with(&place, |settings| settings.repository["fetcher"]["timeout"] = json!("1s")).await;
    let (status, text) = status(&cluster, &format!("{VANITY}/lib/@v/list")).await;
    assert_eq!(status, 504, "{text}");
    // Neither `go` nor what it started is left: each of them worked below the center's folder.
    let data = cluster.data("center");
    until("everything is killed", Duration::from_secs(10), async || working_below(&data).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_ends_takes_its_commands_with_it() {
    let place = place().await;
    place.forge.set_delay(Duration::from_mins(5));
    let limit = Duration::from_secs(30);
    for is_killed in [false, true] {
        let builder = place.builder(&place.settings()).center_env("MODTIER_CENTER_LIMITS_DRAIN_TIMEOUT", "100ms");
        let mut cluster = builder.start().await;
        let data = cluster.data("center");
        let web = cluster.repository_web("golang-private");
        let asking = tokio::spawn(async move { web.try_get(&format!("{VANITY}/lib/@v/list")).await });
        until("git waits for the host", limit, async || !working_below(&data.join("private")).is_empty()).await;
        if is_killed {
            // Nobody is left to kill them: they end because their only way out has ended.
            cluster.center.kill9();
        } else {
            cluster.center.stop().await;
        }
        until("nothing is left", limit, async || working_below(&data).is_empty()).await;
        asking.abort();
    }
}

/// The processes whose working folder lies below this one.
fn working_below(folder: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let folders = processes.filter_map(|process| std::fs::read_link(process.path().join("cwd")).ok());
    folders.filter(|of| of.starts_with(folder)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_wants_too_much_gets_no_further() {
    let place = Place::new().await;
    for (limit, value, script) in [
        ("file_size_max", "1MiB", "head -c 3000000 /dev/zero >\"$HOME/large\" && echo '{\"versions\":[]}'"),
        ("memory_max", "256MiB", "dd if=/dev/zero of=/dev/null bs=400M count=1 && echo '{\"versions\":[]}'"),
    ] {
        let mut settings = place.settings();
        settings.repository["fetcher"] = json!({ "kind": "command", "command": ["/bin/sh", "-c", script] });
        let free = place.builder(&settings).start().await;
        settings.repository["fetcher"][limit] = json!(value);
        let limited = place.builder(&settings).start().await;
        let path = format!("{VANITY}/lib/@v/list");
        // Without the limit the program goes on, to an answer of another operation that it does not know.
        assert!(status(&free, &path).await.1.contains("malformed"), "{limit}");
        let (status, text) = status(&limited, &path).await;
        assert!(status == 502 && text.contains("failed"), "{limit}: {status} {text}");
    }
}
