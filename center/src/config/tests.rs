//! What a configuration may say.

use super::*;

fn read(yaml: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config: Config =
        shared::config::parse("center", Some(("test.yaml", yaml)), env, &ALIASES).map_err(|error| error.to_string())?;
    config.check().map(|()| config)
}

#[test]
fn the_defaults_are_valid() {
    let config = read("", &[]).unwrap();
    assert_eq!(config, Config::default());
    let databases = config.databases().unwrap();
    assert_eq!(databases[0].name, "sum.golang.org");
    assert_eq!(databases[0].base, None);
}

#[test]
fn variables_reach_into_the_default_repositories() {
    let env = [
        ("MODTIER_UPSTREAM", "http://up.test/base/"),
        ("MODTIER_CENTER_OWNS", "corp.test/*,other.test"),
        ("MODTIER_CENTER_SUMDB_VERIFY", "off"),
    ];
    let config = read("", &env).unwrap();
    assert_eq!(config.repositories["golang-remote"].upstream.as_deref(), Some("http://up.test/base/"));
    assert_eq!(config.repositories["golang-remote"].kind, RepositoryKind::Remote);
    assert_eq!(config.repositories["golang-local"].owns, ["corp.test/*", "other.test"]);
    assert_eq!(config.repositories.len(), 3);
    assert!(!config.sumdb.verify);
    assert_eq!(config.databases().unwrap()[0].base.as_deref(), Some("http://up.test/base/sumdb/sum.golang.org"));
}

#[test]
fn off_proxies_no_database() {
    let config = read("", &[("MODTIER_CENTER_SUMDB_NAMES", "off")]).unwrap();
    assert_eq!(config.databases().unwrap(), []);
}

#[test]
fn a_database_may_be_given_with_its_key() {
    let key = PUBLIC_KEY;
    let config = read("", &[("MODTIER_CENTER_SUMDB_NAMES", key)]).unwrap();
    assert_eq!(config.databases().unwrap()[0].name, "sum.golang.org");
    assert_eq!(config.databases().unwrap()[0].public_key.as_deref(), Some(key));
}

#[test]
fn the_documented_private_repository_is_valid() {
    let page = include_str!("../../../docs/private-repositories.md");
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let config = read(rest.split_once("```").unwrap().0, &[]);
    // The other members are the reader's.
    assert!(config.unwrap_err().contains("there is no repository \"golang-local\""));
    let complete =
        rest.replacen("repositories:", "repositories:\n  golang-local: {}\n  golang-remote: {type: remote}", 1);
    let config = read(complete.split_once("```").unwrap().0, &[]).unwrap();
    assert_eq!(config.repositories["golang-private"].kind, RepositoryKind::Private);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (yaml, part) in [
        ("listen: nonsense", "listen"),
        ("repositories: {v: {type: virtual, members: [nobody]}}", "nobody"),
        ("repositories: {v: {type: virtual, members: [w]}, w: {type: virtual, members: [v]}}", "member of itself"),
        ("repositories: {v: {type: virtual, default_deployment: l}, l: {}}", "default_deployment"),
        ("repositories: {r: {type: remote, upstream: 'ftp://x'}}", "http://"),
        ("repositories: {'a/b': {}}", "a name"),
        ("repositories: {}", "at least one"),
        ("sumdb: {names: [unknown.test]}", "public key"),
        ("sumdb: {public_keys: {sum.golang.org: x}}", "malformed"),
        ("egress: {hosts: ['https://x']}", "egress.hosts"),
        ("repositories: {p: {type: private, owns: [x.test], fetcher: {kind: http}}}", "fetcher.url"),
        ("lisen: x", "listen"),
    ] {
        let error = read(yaml, &[]).expect_err(yaml);
        assert!(error.contains(part), "{yaml}: {error}");
    }
}

#[test]
fn its_own_address_is_no_upstream() {
    for (listen, upstream, own) in [
        ("127.0.0.1:8081", "http://localhost:8081/x", true),
        ("127.0.0.1:8081", "http://[::1]:8081", true),
        ("0.0.0.0:8081", "http://127.0.0.1:8081", true),
        ("0.0.0.0:80", "http://127.0.0.1", true),
        ("127.0.0.1:8081", "http://127.0.0.1:8082", false),
        ("127.0.0.1:0", "http://127.0.0.1:8082", false),
        ("127.0.0.1:8081", "http://up.test:8081", false),
        ("up.test:8081", "http://up.test:8081", true),
    ] {
        let error = read(&format!("listen: '{listen}'"), &[("MODTIER_UPSTREAM", upstream)]).err();
        assert_eq!(error.is_some(), own, "{listen} {upstream}: {error:?}");
        assert!(error.is_none_or(|error| error.contains("own address")));
    }
}
