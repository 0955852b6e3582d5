//! URLs of the other tiers: joined to paths, and shown without their credentials.

/// `base` and `path` with exactly one slash between them.
pub(crate) fn join(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// Host and port, which is what a label or a log line may show.
pub(crate) fn authority(base: &str) -> String {
    let Ok(url) = reqwest::Url::parse(base) else { return "unknown".to_owned() };
    let host = url.host_str().unwrap_or("unknown");
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What went wrong with a request and why, without its URL, which may hold a credential.
pub(crate) fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_no_credential() {
        assert_eq!(authority("http://user:secret@edge.example/x"), "edge.example:80");
        assert_eq!(authority("https://[::1]:3000"), "[::1]:3000");
        assert_eq!(authority("nonsense"), "unknown");
        assert_eq!(join("http://a/", "b"), "http://a/b");
    }

    #[tokio::test]
    async fn a_failed_request_is_told_without_its_url() {
        // Port 1 on the loopback is closed everywhere.
        let error = reqwest_client().get("http://user:secret@127.0.0.1:1/").send().await.unwrap_err();
        let text = reason(error);
        assert!(!text.contains("secret") && text.contains("refused"), "{text}");
    }

    fn reqwest_client() -> reqwest::Client {
        shared::client::http_client(shared::client::ClientOptions::default()).unwrap()
    }
}
