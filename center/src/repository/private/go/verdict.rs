//! What a failed `go` command means.
//!
//! "Not found" sends the client's `go` to its next proxy, the module's name with it, so it is said only if the source was
//! read and does not have what was asked for. A host that refuses a credential often says that there is no such repository;
//! a discovery page may be a login page; both are errors here, not absences.

use std::time::Duration;

use crate::egress::Incident;
use crate::repository::RepoError;
use crate::repository::private::incidents::{explanation, unavailable};

/// What `go` says when it has read the repository and found nothing. Each text stands in `cmd/go/internal/modfetch` or
/// `modload`, after the repository was read, or before anything was asked.
const ABSENT: [&str; 14] = [
    "unknown revision ",
    "no matching versions for query",
    "/go.mod at revision ",
    "missing go.mod",
    "must match major version",
    "+incompatible suffix not allowed",
    "go.mod has post-",
    "go.mod has non-",
    "invalid pseudo-version",
    "does not match version-control timestamp",
    "malformed module path",
    "module declares its path as",
    "invalid github.com import path",
    "invalid bitbucket.org import path",
];

/// Signs that something went wrong on the way, whatever else is said.
const TROUBLE: [&str; 17] = [
    "exit status",
    "signal:",
    "fatal:",
    "unrecognized import path",
    "exec:",
    "dial ",
    "proxyconnect",
    "tls:",
    "x509:",
    "timeout",
    "EOF",
    "connection re",
    "ermission denied",
    "no space left",
    "annot allocate memory",
    "out of memory",
    "nput/output error",
];

/// Signs that the host cannot be asked now, rather than that it refuses.
const OUTAGE: [&str; 14] = [
    "ould not resolve",
    "onnection refused",
    "onnection reset",
    "onnection closed",
    "onnection timed out",
    "unexpected disconnect",
    "early EOF",
    "unexpected EOF",
    "returned error: 5",
    ": 500 ",
    ": 502 ",
    ": 503 ",
    ": 504 ",
    "etwork is unreachable",
];

/// The repository is one of Subversion's: there, `go` takes every failure for an unknown revision.
const SUBVERSION: &str = " vcs1.svn ";

/// What a failure means. `what` names the module and version, `trace` is everything the command wrote to standard error
/// with `-x`, `text` the error itself.
pub(super) fn judge(what: &str, text: &str, trace: &str, incidents: &[Incident]) -> RepoError {
    if let Some(error) = explanation(what, incidents) {
        return error;
    }
    let has = |signs: &[&str]| signs.iter().any(|sign| text.contains(sign));
    if text.contains("GOVCS disallows") {
        return RepoError::Blocked(format!("{what}: the configuration does not allow its version control system"));
    }
    if has(&ABSENT) && !has(&TROUBLE) && !trace.contains(SUBVERSION) {
        return RepoError::NotFound(format!("{what}: {}", reason(text)));
    }
    if has(&OUTAGE) {
        return unavailable(format!("{what}: its source cannot be asked now"));
    }
    if text.contains("executable file not found") {
        return unavailable(format!("{what}: the center lacks the program of its version control system"));
    }
    RepoError::Upstream(format!("{what}: its source does not exist, refuses the center's credential, or failed"))
}

/// The command took too long; what the proxy saw may say more.
pub(super) fn too_slow(what: &str, limit: Duration, incidents: &[Incident]) -> RepoError {
    explanation(what, incidents)
        .unwrap_or_else(|| RepoError::Timeout(format!("{what}: not fetched within {} s", limit.as_secs())))
}

/// The last part of the first line: `go: a@v1: invalid version: unknown revision v1` is about `unknown revision v1`.
fn reason(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let begin = ABSENT.iter().filter_map(|sign| line.find(sign)).min().unwrap_or(0);
    line[begin..].trim()
}

/// The error in what `go` wrote to standard error with `-x`: the lines that begin with `go: ` and what is indented below.
pub(super) fn error_of(trace: &str) -> String {
    let mut error = String::new();
    let mut inside = false;
    for line in trace.lines() {
        inside = line.starts_with("go: ") || (inside && line.starts_with(['\t', ' ']));
        if inside {
            error.push_str(line);
            error.push('\n');
        }
    }
    if error.is_empty() { trace.lines().next_back().unwrap_or_default().to_owned() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str, incidents: &[Incident]) -> &'static str {
        match judge("m@v1", text, "", incidents) {
            RepoError::NotFound(_) => "absent",
            RepoError::Blocked(_) => "blocked",
            RepoError::Unavailable { .. } => "unavailable",
            RepoError::Timeout(_) => "timeout",
            RepoError::Upstream(_) => "upstream",
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_what_was_read_and_not_found_is_absent() {
        for (text, expected) in [
            ("go: a.test/m@v9.9.9: invalid version: unknown revision v9.9.9", "absent"),
            ("go: module a.test/m/pkg: no matching versions for query \"latest\"", "absent"),
            ("go: a.test/m/x@v1.0.0: invalid version: missing a.test/m/x/go.mod at revision x/v1.0.0", "absent"),
            (
                "go: a@v2.0.0: invalid version: module contains a go.mod file, so module path must match major version (\"a/v2\")",
                "absent",
            ),
            (
                "go: a@v1: invalid version: git ls-remote -q origin in /x: exit status 128:\n\tfatal: could not read Username for 'https://a': terminal prompts disabled",
                "upstream",
            ),
            (
                "go: a@v1: invalid version: git ls-remote -q origin in /x: exit status 128:\n\tremote: Repository not found.\n\tfatal: repository 'https://a/' not found",
                "upstream",
            ),
            ("go: a@v1: unrecognized import path \"a\": reading https://a?go-get=1: 404 Not Found", "upstream"),
            ("go: a@v1: unrecognized import path \"a\": reading https://a?go-get=1: 401 Unauthorized", "upstream"),
            (
                "go: a@v1: unrecognized import path \"a\": reading https://a?go-get=1: 503 Service Unavailable",
                "unavailable",
            ),
            (
                "go: a@v1: unrecognized import path \"a\": parse https://a?go-get=1: no go-import meta tags ()",
                "upstream",
            ),
            (
                "go: a@v1: invalid version: git fetch -f origin: exit status 128:\n\tgit@a: Permission denied (publickey).",
                "upstream",
            ),
            (
                "go: a@v1: invalid version: git fetch: exit status 128:\n\tfatal: unable to access 'https://a/': The requested URL returned error: 503",
                "unavailable",
            ),
            ("go: a@v1: invalid version: git fetch: signal: killed", "upstream"),
            ("go: a@v1: GOVCS disallows using svn for public a; see 'go help vcs'", "blocked"),
            ("something new", "upstream"),
        ] {
            assert_eq!(status(text, &[]), expected, "{text}");
        }
    }

    #[test]
    fn what_the_proxy_saw_goes_before_what_is_said() {
        let text = "go: a.test/m@v9.9.9: invalid version: unknown revision v9.9.9";
        let host = || "h:443".to_owned();
        assert_eq!(status(text, &[Incident::Unreachable(host())]), "unavailable");
        assert_eq!(status(text, &[Incident::TimedOut(host())]), "timeout");
        assert_eq!(status(text, &[Incident::Unreachable(host()), Incident::Refused(host())]), "blocked");
    }

    #[test]
    fn an_unknown_revision_in_subversion_may_be_anything() {
        let text = "go: a.test/m@v9.9.9: invalid version: unknown revision v9.9.9";
        let trace = "mkdir -p /c/cache/vcs/ab # vcs1.svn svn+ssh://a.test/m\n";
        assert!(matches!(judge("m@v1", text, trace, &[]), RepoError::Upstream(_)));
    }

    #[test]
    fn the_error_is_found_between_the_commands() {
        let trace = "# get https://a/?go-get=1\ncd /x; git ls-remote\ngo: a@v1: failed:\n\tfatal: b\n0.1s # git\n";
        assert_eq!(error_of(trace), "go: a@v1: failed:\n\tfatal: b\n");
        assert_eq!(error_of("modtier-center: go: No such file"), "modtier-center: go: No such file");
    }
}
