//! An entry has one name: the path. What a proxy, a balancer or an attacker puts around it neither leads to another entry nor
//! past a rule, and none of it reaches a center.

use modtier_tests::raw::{self, RawReply};
use modtier_tests::{Face, LoneEdge, Origin};

/// Two entries, and what is refused.
const OURS: &str = "example.com/a/@v/v1.0.0.mod";
const OTHER: &str = "example.com/b/@v/v1.0.0.mod";
const FOREIGN: &str = "other-tenant/example.com/a/@v/v1.0.0.mod";

/// Headers by which some servers let a client say what it really wants. Each names the other entry.
const DISGUISES: &[&str] = &[
    "Host: example.com/b",
    "Host: other-tenant",
    "Host: 127.0.0.1:9091",
    "X-Forwarded-Host: other-tenant",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Prefix: /default",
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Path: /example.com/b/@v/v1.0.0.mod",
    "X-Original-URL: /example.com/b/@v/v1.0.0.mod",
    "X-Original-URI: /example.com/b/@v/v1.0.0.mod",
    "X-Rewrite-URL: /example.com/b/@v/v1.0.0.mod",
    "X-HTTP-Method-Override: DELETE",
    "Forwarded: for=127.0.0.1;host=other-tenant;proto=https",
    "X-Tenant: other-tenant",
    "X-Real-IP: 127.0.0.1",
    "Referer: http://other-tenant/example.com/b/@v/v1.0.0.mod",
    "Destination: /example.com/b/@v/v1.0.0.mod",
    "Accept: application/zip",
    "Accept-Encoding: gzip, br",
    "Accept-Language: de",
    "Cookie: tenant=other-tenant",
    "Origin: http://other-tenant",
    "User-Agent: Go-http-client/1.1",
];

/// Spellings of our path that mean it: one step of percent-encoding, a query, the default tenant's name.
const SPELLINGS: &[&str] = &[
    "/example.com/a/@v/v1.0.0.mod?",
    "/example.com/a/@v/v1.0.0.mod?path=/example.com/b/@v/v1.0.0.mod",
    "/example.com/a/@v/v1.0.0.mod?go-get=1&x=%2e%2e",
    "/example.com/%61/@v/v1.0.0.mod",
    "/%65xample.com/a/@v/v1.0.0.mod",
    "/example.com/a/%40v/v1.0.0.mod",
    "/example.com%2Fa/@v/v1.0.0.mod",
    "/example.com/a/@v/v1%2e0%2E0.mod",
    "/default/example.com/a/@v/v1.0.0.mod",
];

/// What only looks like it, with the statuses that may answer.
const IMPOSTORS: &[(&str, &[u16])] = &[
    ("/example.com/a/@v/v1.0.0.mod/", &[404]),
    ("/example.com/a/@v/v1.0.0.mod//", &[400]),
    ("/example.com/a//@v/v1.0.0.mod", &[400]),
    ("//example.com/a/@v/v1.0.0.mod", &[400]),
    ("/./example.com/a/@v/v1.0.0.mod", &[400]),
    ("/example.com/b/../a/@v/v1.0.0.mod", &[400]),
    ("/example.com/b/%2e%2e/a/@v/v1.0.0.mod", &[400]),
    ("/example.com/b/%2e%2e%2fa/@v/v1.0.0.mod", &[400]),
    ("/example.com/%2561/@v/v1.0.0.mod", &[400]),
    ("/%252e%252e/example.com/a/@v/v1.0.0.mod", &[400]),
    ("/example.com\\a/@v/v1.0.0.mod", &[400]),
    ("/example.com/a;x=1/@v/v1.0.0.mod", &[404]),
    ("/example.com/a/@v/v1.0.0.mod;x=1", &[404]),
    ("/example.com/a/@v/v1.0.0.mod%00", &[400]),
    ("/example.com/a/@v/v1.0.0.mod%20", &[404]),
    ("/example.com/a/@v/v1.0.0.mod%3Fx=1", &[404]),
    ("/example.com/a/@v/v1.0.0.MOD", &[404]),
    ("/EXAMPLE.com/a/@v/v1.0.0.mod", &[404]),
    ("/example.com/a/@v/V1.0.0.mod", &[404]),
    ("/Default/example.com/a/@v/v1.0.0.mod", &[403]),
    ("/default/default/example.com/a/@v/v1.0.0.mod", &[403, 404]),
    ("/other-tenant/example.com/a/@v/v1.0.0.mod", &[403]),
    ("/other%2Dtenant/example.com/a/@v/v1.0.0.mod", &[403]),
    ("/%6fther-tenant/example.com/a/@v/v1.0.0.mod", &[403]),
    ("/default/../other-tenant/example.com/a/@v/v1.0.0.mod", &[400]),
    ("/default%2f..%2fother-tenant/example.com/a/@v/v1.0.0.mod", &[400]),
    ("/api/go/golang-virtual/example.com/a/@v/v1.0.0.mod", &[404]),
    ("/api/v1/purge", &[404]),
    ("/metrics", &[404]),
];

async fn scene() -> (Origin, LoneEdge) {
    let center = Origin::start().await;
    for path in [OURS, OTHER] {
        center.set(path, format!("module asked as {path}\n"));
    }
    let edge = LoneEdge::before(&[&center]).start().await;
    (center, edge)
}

/// What the edge asked the center for, in its capacity as center.
fn asked(center: &Origin) -> Vec<String> {
    center.seen().into_iter().filter(|seen| seen.face == Face::Center).map(|seen| seen.path).collect()
}

async fn get(edge: &LoneEdge, target: &str, headers: &[&str]) -> RawReply {
    let host = if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "Host: edge\r\n" };
    let lines: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
    let request = format!("GET {target} HTTP/1.1\r\n{host}{lines}Connection: close\r\n\r\n");
    raw::exchange(&edge.goproxy(), request.as_bytes(), std::time::Duration::from_secs(20)).await
}

/// Whether it is a 200 of our entry and of no other.
fn is_ours(reply: &RawReply) -> bool {
    reply.status() == 200 && reply.text().ends_with(&format!("module asked as {OURS}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_lead_to_no_other_entry_and_past_no_rule() {
    let (center, edge) = scene().await;
    for cold in [true, false] {
        for disguise in DISGUISES {
            if cold {
                // Each disguise meets an edge that holds nothing, so that it could also decide what is fetched and stored.
                let purged = edge.admin_web().request(reqwest::Method::POST, "api/v1/purge");
                assert_eq!(modtier_tests::Web::send(purged).await.unwrap().status, 200);
                center.forget();
            }
            let reply = get(&edge, &format!("/{OURS}"), &[disguise]).await;
            assert!(is_ours(&reply), "{disguise}: {}", reply.text());
            let fetched = asked(&center);
            assert!(fetched.iter().all(|path| path == OURS), "{disguise}: the center was asked {fetched:?}");
            assert_eq!(fetched.len(), 1, "{disguise}: {fetched:?}");
            let reply =
                get(&edge, &format!("/{FOREIGN}"), &[disguise, "X-Original-URL: /example.com/a/@v/v1.0.0.mod"]).await;
            assert_eq!(reply.status(), 403, "{disguise}: {}", reply.text());
            let reply = get(&edge, "/api/v1/purge", &[disguise]).await;
            assert_eq!(reply.status(), 404, "{disguise}: {}", reply.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_of_itself_reaches_no_center() {
    let (center, edge) = scene().await;
    let secrets =
        ["Authorization: Basic dXNlcjpzZWNyZXQ=", "Cookie: session=secret", "Proxy-Authorization: Basic c2VjcmV0"];
    let told: Vec<&str> =
        DISGUISES.iter().copied().filter(|header| !header.starts_with("Host:")).chain(secrets).collect();
    assert!(is_ours(&get(&edge, &format!("/{OURS}?x=secret"), &told).await));
    let seen: Vec<_> = center.seen().into_iter().filter(|seen| seen.face == Face::Center).collect();
    assert_eq!(seen.len(), 1);
    let is_told_on = |name: &str, value: &str| {
        let of_disguise = |disguise: &&str| {
            disguise.split_once(": ").is_some_and(|(known, text)| known.eq_ignore_ascii_case(name) && text == value)
        };
        let says_who = ["secret", "other-tenant"].iter().any(|text| value.contains(text));
        says_who || name.contains("auth") || name == "cookie" || DISGUISES.iter().any(of_disguise)
    };
    let told_on: Vec<_> = seen[0].headers.iter().filter(|(name, value)| is_told_on(name, value)).collect();
    assert!(told_on.is_empty(), "{told_on:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_path_is_one_entry_and_what_resembles_it_is_none() {
    let (center, edge) = scene().await;
    for spelling in SPELLINGS {
        let reply = get(&edge, spelling, &[]).await;
        assert!(is_ours(&reply), "{spelling}: {}", reply.text());
    }
    assert_eq!(asked(&center), [OURS], "one entry is fetched once, whatever it is called");
    center.forget();
    let mut wrong = Vec::new();
    for (target, expected) in IMPOSTORS {
        let reply = get(&edge, target, &[]).await;
        if !expected.contains(&reply.status()) || reply.text().contains("module asked as") {
            wrong.push(format!("{target}: {} instead of {expected:?}", reply.status()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    // Whatever was asked of the center was another path, told as it is, and is an entry of its own.
    let fetched = asked(&center);
    assert!(!fetched.iter().any(|path| path == OURS || path == OTHER || path.contains("..")), "{fetched:?}");
    assert!(is_ours(&get(&edge, &format!("/{OURS}"), &[]).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_a_host_or_a_fragment_names_no_other_host_and_no_other_entry() {
    let (center, edge) = scene().await;
    for target in [
        "http://other-tenant/example.com/a/@v/v1.0.0.mod",
        "http://127.0.0.1:9091/example.com/a/@v/v1.0.0.mod",
        "/example.com/a/@v/v1.0.0.mod#/../../b/@v/v1.0.0.mod",
    ] {
        let reply = get(&edge, target, &[]).await;
        assert!(is_ours(&reply) || reply.status() == 400, "{target}: {}", reply.text());
    }
    assert!(asked(&center).iter().all(|path| path == OURS), "{:?}", asked(&center));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_its_path_decides_that_a_module_goes_to_its_own_center() {
    let (own, other) = (Origin::start().await, Origin::start().await);
    for center in [&own, &other] {
        center.set("corp.example/own/@v/v1.0.0.mod", "module corp.example/own\n");
        center.set(OURS, format!("module asked as {OURS}\n"));
    }
    let name = |center: &Origin| raw::address(&center.url()).to_owned();
    let routing = format!(
        "routing: {{label_header: X-Env, rules: [{{modules: ['corp.example'], centers: ['{0}']}}, {{label: other, centers: ['{1}']}}, {{centers: ['{1}']}}]}}\n",
        name(&own),
        name(&other)
    );
    let edge = LoneEdge::before(&[&own, &other]).config(&routing).start().await;
    let spellings = [
        "/corp.example/own/@v/v1.0.0.mod",
        "/default/corp.example/own/@v/v1.0.0.mod",
        "/%63orp.example/own/@v/v1.0.0.mod",
    ];
    for (target, center, others) in [(spellings.as_slice(), &own, &other), (SPELLINGS, &other, &own)] {
        for (number, disguise) in DISGUISES.iter().chain(&["X-Env: other", "X-Env: own", "X-Env: *"]).enumerate() {
            let purged = edge.admin_web().request(reqwest::Method::POST, "api/v1/purge");
            assert_eq!(modtier_tests::Web::send(purged).await.unwrap().status, 200);
            center.forget();
            others.forget();
            let target = target[number % target.len()];
            let reply = get(&edge, target, &[disguise]).await;
            assert_eq!(reply.status(), 200, "{target}, {disguise}: {}", reply.text());
            assert_eq!(asked(center).len(), 1, "{target}, {disguise}");
            assert!(asked(others).is_empty(), "{target}, {disguise}: {:?} went astray", asked(others));
        }
    }
}
