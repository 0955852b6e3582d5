//! Dependency confusion: whatever a public server has under the name of one of ours, nobody gets it, and nobody asks for it.

use modtier_tests::{Cluster, GoClient, Module, Origin};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owned_is_answered_by_its_owner_or_not_at_all() {
    let (public, mut partner) = (Origin::start().await, Origin::start().await);
    let repositories = format!(
        "{{golang-local: {{type: local, owns: ['corp.test/*']}}, \
          partner: {{type: remote, upstream: '{}', owns: ['partner.test/*'], metadata_period: 0s, stale_if_error: 0s}}, \
          public: {{type: remote, upstream: '{}'}}, \
          golang-remote: {{type: remote, exclude: ['*']}}, \
          golang-virtual: {{type: virtual, members: [public, golang-local, partner], default_deployment: golang-local}}}}",
        partner.url(),
        public.url()
    );
    let database = format!("{{sum.golang.org: '{}/sumdb/sum.golang.org'}}", public.url());
    let cluster = Cluster::of(&public)
        .center_env("MODTIER_CENTER_REPOSITORIES", &repositories)
        .center_env("MODTIER_CENTER_SUMDB_NAMES", "sum.golang.org")
        .center_env("MODTIER_CENTER_SUMDB_UPSTREAMS", &database)
        .center_env("MODTIER_CENTER_SUMDB_VERIFY", "on")
        .center_env("MODTIER_CENTER_OUTBOUND_BREAKER_OPEN", "1ms")
        .start()
        .await;
    for path in ["corp.test/lib", "partner.test/lib", "example.com/published", "example.com/published/sub"] {
        let evil = Module::new(path, "v1.9.9").package().build();
        public.publish(&evil);
        public.set_latest(&evil);
        public.point("main", &evil);
    }
    cluster.publish_new(&Module::new("corp.test/lib", "v1.0.0").package().build()).await;
    cluster.publish_new(&Module::new("example.com/published", "v1.0.0").package().build()).await;
    let ours = Module::new("partner.test/lib", "v1.0.0").package().build();
    partner.publish(&ours);
    partner.set_latest(&ours);
    let go = GoClient::new(&cluster.goproxy());
    for path in ["corp.test/lib", "partner.test/lib", "example.com/published"] {
        let listed = go.ok(&["list", "-m", "-versions", path]).await.stdout;
        assert_eq!(listed.trim(), format!("{path} v1.0.0"));
        go.ok(&["mod", "download", &format!("{path}@latest")]).await;
        assert!(!go.run(&["mod", "download", &format!("{path}@v1.9.9")]).await.ok, "{path}");
    }
    let names = ["@v/list", "@latest", "@v/main.info", "@v/v1.9.9.info", "@v/v1.9.9.mod", "@v/v1.9.9.zip"];
    for web in [cluster.edge_web(), cluster.repository_web("golang-virtual")] {
        for path in ["corp.test/lib", "corp.test/none", "example.com/published", "example.com/published/sub"] {
            for name in names {
                let reply = web.get(&format!("{path}/{name}")).await;
                let is_ours = reply.status == 200 && !reply.text().contains("v1.9.9");
                assert!(is_ours || reply.status == 404, "{path}/{name}: {} {}", reply.status, reply.text());
            }
        }
        for path in ["corp.test/lib", "partner.test/lib", "example.com/published/sub"] {
            let reply = web.get(&format!("sumdb/sum.golang.org/lookup/{path}@v1.0.0")).await;
            assert_eq!(reply.status, 403, "{path}: {}", reply.text());
        }
    }
    assert_eq!(cluster.repository_web("public").get("corp.test/lib/@v/list").await.status, 403);
    partner.go_down().await;
    let center = cluster.repository_web("golang-virtual");
    for path in ["partner.test/new", "partner.test/lib/sub"] {
        for name in names {
            let reply = center.get(&format!("{path}/{name}")).await;
            assert!([502, 503, 504].contains(&reply.status), "{path}/{name}: {} {}", reply.status, reply.text());
        }
    }
    for name in ["@v/list", "@latest", "@v/v1.9.8.info"] {
        let reply = center.get(&format!("partner.test/lib/{name}")).await;
        assert!([502, 503, 504].contains(&reply.status), "{name}: {} {}", reply.status, reply.text());
    }
    let reply = cluster.edge_web().get("partner.test/new/@v/list").await;
    assert!([502, 503, 504].contains(&reply.status), "{} {}", reply.status, reply.text());
    let asked = public.seen();
    assert!(asked.is_empty(), "a public server was asked: {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_list_says_so_and_is_not_to_be_kept() {
    let (one, mut two) = (Origin::start().await, Origin::start().await);
    let repositories = format!(
        "{{one: {{type: remote, upstream: '{}'}}, two: {{type: remote, upstream: '{}'}}, golang-remote: {{type: remote}}, \
          golang-virtual: {{type: virtual, members: [one, two]}}}}",
        one.url(),
        two.url()
    );
    let cluster = Cluster::of(&one).center_env("MODTIER_CENTER_REPOSITORIES", &repositories).start().await;
    one.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    two.publish(&Module::new("example.com/a", "v1.1.0").package().build());
    two.go_down().await;
    let web = cluster.repository_web("golang-virtual");
    for (path, part) in [("example.com/a/@v/list", "v1.0.0\n"), ("example.com/a/@latest", "\"v1.0.0\"")] {
        let reply = web.get(path).await;
        assert!(reply.status == 200 && reply.text().contains(part), "{path}: {} {}", reply.status, reply.text());
        assert_eq!(reply.header("x-modtier-caveat"), "partial", "{path}");
        assert_eq!(reply.header("cache-control"), "no-store", "{path}");
        assert_eq!(reply.header("x-change-id"), "", "{path}");
    }
    // An edge passes it on and asks again for the next client.
    let (edge, path) = (cluster.edge_web(), "example.com/a/@v/list");
    let reply = edge.get(path).await;
    assert_eq!(reply.text(), "v1.0.0\n");
    assert_eq!((reply.header("x-modtier-caveat"), reply.header("cache-control")), ("partial", "no-store"));
    two.come_back();
    let reply = edge.get(path).await;
    assert_eq!(reply.text(), "v1.0.0\nv1.1.0\n");
    assert_eq!((reply.header("x-modtier-caveat"), reply.header("cache-control")), ("", "public, max-age=60"));
}
