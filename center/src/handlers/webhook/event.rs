//! Which repository an event is about. The hosts agree on no schema, but each names its repository's URLs somewhere.

use serde_json::Value;

use crate::repository::place_of;

/// Where GitHub and Gitea (`repository`), GitLab (`project`, and `repository` of older ones) and Bitbucket put them.
const URLS: [&str; 14] = [
    "/repository/clone_url",
    "/repository/ssh_url",
    "/repository/html_url",
    "/repository/git_http_url",
    "/repository/git_ssh_url",
    "/repository/homepage",
    "/repository/links/html/href",
    "/repository/links/clone/0/href",
    "/repository/links/clone/1/href",
    "/project/web_url",
    "/project/git_http_url",
    "/project/git_ssh_url",
    "/project/http_url",
    "/project/ssh_url",
];

/// `host/path` of every URL that the event gives its repository, each once; none of a ping. `None` if it is not JSON.
pub(super) fn places(body: &[u8]) -> Option<Vec<String>> {
    let event: Value = serde_json::from_slice(body).ok()?;
    let urls = URLS.iter().filter_map(|at| event.pointer(at)?.as_str());
    let mut places: Vec<String> = urls.filter_map(place_of).collect();
    places.sort_unstable();
    places.dedup();
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_names_its_repository() {
        for (event, expected) in [
            (
                r#"{"ref":"refs/tags/v1","repository":{"clone_url":"https://github.test/a/b.git","ssh_url":"git@github.test:a/b.git"}}"#,
                &["github.test/a/b"][..],
            ),
            (
                r#"{"object_kind":"tag_push","project":{"web_url":"https://gitlab.test/g/s/b","git_ssh_url":"git@ssh.gitlab.test:g/s/b.git"}}"#,
                &["gitlab.test/g/s/b", "ssh.gitlab.test/g/s/b"],
            ),
            (r#"{"zen":"x"}"#, &[]),
        ] {
            assert_eq!(places(event.as_bytes()).unwrap(), expected, "{event}");
        }
        assert_eq!(places(b"not json"), None);
    }
}
