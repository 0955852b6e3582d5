//! HTTP/1 requests that two readers may read in two ways. hyper refuses most of them; what it lets pass of Host and of transfer codings
//! is refused here, and the connection ends with it, so that nothing that follows is taken for a request. (Where both a length and
//! a coding are given, hyper goes by the coding and hides the length: RFC 9112 section 6.3 allows that.)

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Version};

/// Set on a request that must not be answered: what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doubt(pub(crate) &'static str);

/// What is doubtful about a request, if anything is (RFC 9112 sections 3.2 and 6.1).
pub(super) fn doubt(version: Version, headers: &HeaderMap) -> Option<Doubt> {
    if version >= Version::HTTP_2 {
        return None;
    }
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && version == Version::HTTP_11) {
        return Some(Doubt("the header must have one Host"));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
        (Some(_), _) => Some(Doubt("the only transfer coding is chunked, and once")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn judge(version: Version, lines: &[(HeaderName, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        doubt(version, &headers).is_some()
    }

    #[test]
    fn one_host_and_one_coding() {
        let host = (HOST, "a.test");
        let te = |value| (TRANSFER_ENCODING, value);
        assert!(!judge(Version::HTTP_11, std::slice::from_ref(&host)));
        assert!(!judge(Version::HTTP_11, &[host.clone(), te("Chunked")]));
        assert!(!judge(Version::HTTP_10, &[]));
        assert!(!judge(Version::HTTP_2, &[]));
        assert!(judge(Version::HTTP_11, &[]));
        assert!(judge(Version::HTTP_11, &[host.clone(), host.clone()]));
        assert!(judge(Version::HTTP_11, &[host.clone(), te("chunked"), te("chunked")]));
        assert!(judge(Version::HTTP_11, &[host, te("chunked, chunked")]));
    }
}
