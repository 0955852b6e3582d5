//! URLs, and what a reload keeps.

use super::*;

fn center(url: &str) -> Center {
    Center::new(url, &Config::default(), None).unwrap()
}

#[test]
fn urls_are_joined_below_the_centers_path() {
    let center = center("http://center:1/base?x=1");
    let url = center.repository_url("golang-virtual", "github.com/!burnt!sushi/toml/@v/v1.0.0.zip");
    assert_eq!(url.as_str(), "http://center:1/base/api/go/golang-virtual/github.com/!burnt!sushi/toml/@v/v1.0.0.zip");
    let url = center.api_url("golang-virtual", "changes?after=1-2&wait=30s");
    assert_eq!(url.as_str(), "http://center:1/base/api/v1/repos/golang-virtual/changes?after=1-2&wait=30s");
    assert_eq!(center.probe_url().as_str(), "http://center:1/base/healthz");
}

#[test]
fn a_path_cannot_become_a_query() {
    let url = center("http://center:1").repository_url("r", "example.com/a/@v/a?b#c%20d.info");
    assert_eq!(url.as_str(), "http://center:1/api/go/r/example.com/a/@v/a%3Fb%23c%20d.info");
}

#[test]
fn a_credential_is_not_shown() {
    assert_eq!(center("http://user:secret@center:1").public_url(), "http://center:1/");
}
