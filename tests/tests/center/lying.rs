//! Everything that an upstream can send instead of an artefact: the right status, nothing stored, and the next request heals.

use bytes::Bytes;
use modtier_tests::{BuiltModule, Cluster, Fault, GoClient, Module, Origin, objects};

use modtier_tests::raw_zip::{RawFile, RawZip};

const PREFIX: &str = "example.com/a@v1.0.0/";
const GO_MOD: &str = "module example.com/a\n\ngo 1.21\n";

fn file(name: &str, content: &[u8]) -> RawFile {
    RawFile::new(&format!("{PREFIX}{name}"), content)
}

fn zip_of(files: Vec<RawFile>) -> Fault {
    let all = [vec![file("go.mod", GO_MOD.as_bytes())], files].concat();
    Fault::Replace(RawZip::of(all).bytes().into())
}

fn answer(head: &str, body: impl Into<Bytes>) -> Fault {
    Fault::Answer(200, head.to_owned(), body.into())
}

/// A file that says it has 600 MB.
fn zip_bomb() -> Fault {
    zip_of(vec![RawFile { size: Some(600 << 20), ..file("zeros", &[0; 1000]).deflated() }])
}

/// A file that says it has ten bytes and has a million.
fn secret_zip_bomb() -> Fault {
    zip_of(vec![RawFile { size: Some(10), ..file("zeros", &vec![0; 1 << 20]).deflated() }])
}

fn list_of(count: usize) -> String {
    (0..count).fold(String::new(), |list, number| list + "v1.0." + &number.to_string() + "\n")
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, body).unwrap();
    encoder.finish().unwrap()
}

/// What can be wrong with each kind of artefact, by its name below the module.
fn zips(module: &BuiltModule) -> Vec<(&'static str, Fault)> {
    let half = module.zip.len() / 2;
    let overlapping = RawFile { offset: Some(0), ..file("over.go", b"package a // another text") };
    vec![
        ("truncated", Fault::Truncate(half)),
        ("truncated in chunks", Fault::TruncateChunked(half)),
        ("reset", Fault::Reset(half)),
        ("reset at once", Fault::ResetAtOnce),
        ("wrong byte", Fault::Flip(half)),
        ("zip bomb", zip_bomb()),
        ("zip bomb that denies it", secret_zip_bomb()),
        ("overlapping entries", zip_of(vec![file("x.go", b"x"), overlapping])),
        ("duplicate names", zip_of(vec![file("x.go", b"x"), file("x.go", b"y")])),
        ("names that differ in case", zip_of(vec![file("x.go", b"x"), file("X.go", b"y")])),
        ("absolute name", zip_of(vec![RawFile::new("/etc/passwd", b"x")])),
        ("parent in a name", zip_of(vec![file("../../x.go", b"x")])),
    ]
}

fn pages() -> Vec<(&'static str, Fault)> {
    let page = "<!doctype html><title>log in</title>";
    vec![
        ("page as text", Fault::Replace(page.into())),
        ("page", answer("Content-Type: text/html; charset=utf-8\r\n", page)),
        ("redirect to a page", Fault::Answer(302, "Location: /login\r\n".to_owned(), Bytes::new())),
        ("gzip bomb", answer("Content-Encoding: gzip\r\n", gzip(&vec![b'\n'; 4 << 20]))),
        ("server error", Fault::Status(500)),
        ("cut", Fault::Truncate(5)),
        ("reset in the middle", Fault::Reset(5)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_upstream_sends_instead_is_not_kept_and_the_next_request_heals() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin)
        // The faults come one after another without a pause, and each is to be met.
        .center_env("MODTIER_CENTER_OUTBOUND_BREAKER_FAILURES", "1000000")
        .start()
        .await;
    let web = cluster.repository_web("golang-virtual");
    let module = Module::new("example.com/a", "v1.0.0").go_mod(GO_MOD).package().ballast(30_000, 1).build();
    origin.publish(&module);
    origin.fault("login", answer("Content-Type: text/html\r\n", "<html>log in</html>"));
    let endless = |text: &'static str| ("endless", Fault::Endless(Bytes::from(text.repeat(20_000))));
    let long_list = list_of(2_000_000);
    let artefacts = [
        (module.at("info"), vec![endless("{\"Version\":")], module.info.clone()),
        (module.at("mod"), vec![endless("require example.com/b v1.0.0\n")], module.go_mod.clone()),
        (module.zip_path(), zips(&module), module.zip.clone()),
        (
            "example.com/a/@v/list".to_owned(),
            vec![endless("v1.0.0\n"), ("two million lines", Fault::Replace(long_list.into()))],
            "v1.0.0\n".into(),
        ),
    ];
    for (path, faults, right) in artefacts {
        for (name, fault) in faults.into_iter().chain(pages()) {
            origin.fault(&path, fault);
            // A body may have begun before it broke: then it is its end that is missing.
            if let Ok(reply) = web.try_get(&path).await {
                let is_right = [502, 503, 504].contains(&reply.status) || !reply.complete;
                assert!(is_right, "{path}, {name}: {} {}", reply.status, reply.text());
            }
            let held = web.get_held(&path).await;
            assert_eq!(held.status, 404, "{path}, {name}: {} bytes are held", held.body.len());
            origin.heal();
            origin.fault("login", answer("Content-Type: text/html\r\n", "<html>log in</html>"));
        }
        assert_eq!(objects::verify(&cluster.data("center")), 0, "{path}: nothing was kept");
        let reply = web.get(&path).await;
        assert!(reply.is_whole() && reply.body == right, "{path} heals: {} {}", reply.status, reply.text());
        assert_eq!(origin.count("evil"), 0);
    }
    let log = cluster.center.log();
    assert!(!log.contains("panicked at"), "{log}");
    assert!(log.contains("integrity failure"), "what was refused is audited: {log}");
    GoClient::new(&cluster.goproxy()).ok(&["mod", "download", &module.query()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_million_lines_is_answered_and_a_link_in_a_zip_is_a_file_as_go_has_it() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let web = cluster.repository_web("golang-virtual");
    let list = list_of(1_000_000);
    origin.set("example.com/long/@v/list", list.clone());
    let reply = web.get("example.com/long/@v/list").await;
    assert!(reply.is_whole() && reply.body == list.as_bytes(), "{} {} bytes", reply.status, reply.body.len());
    let module = Module::new("example.com/a", "v1.0.0").go_mod(GO_MOD).package().build();
    origin.publish(&module);
    let link = RawFile { external: 0o120_777 << 16, ..file("passwd", b"/etc/passwd") };
    origin.fault(&module.zip_path(), zip_of(vec![link]));
    let go = GoClient::new(&cluster.goproxy());
    let output = go.ok(&["mod", "download", "-json", &module.query()]).await;
    let said: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let unpacked = std::path::Path::new(said["Dir"].as_str().unwrap()).join("passwd");
    assert!(std::fs::symlink_metadata(&unpacked).unwrap().is_file(), "{}", unpacked.display());
}
