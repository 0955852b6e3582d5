//! What an answer says of its body's identity: `ETag`, `Repr-Digest`, `Last-Modified` and `X-Change-Id`.
//!
//! They are the same at each hit, and writing them anew costs more than anything else in a header. An entry in memory keeps
//! them in one block of text, about 400 bytes; the whole header would take ten times that.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::InvalidHeaderValue;
use http::{HeaderName, HeaderValue, header};
use pingora_core::{ErrorType, OrErr as _};
use pingora_http::ResponseHeader;

use super::{Answer, Plan, date};

const X_CHANGE_ID: HeaderName = HeaderName::from_static("x-change-id");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The headers' values.
pub(super) struct Validators {
    etag: Option<HeaderValue>,
    repr_digest: Option<HeaderValue>,
    modified: Option<HeaderValue>,
    change_id: Option<HeaderValue>,
}

impl Validators {
    pub(super) fn of(answer: &Answer) -> pingora_core::Result<Self> {
        let texts = [
            answer.digest.map(|digest| digest.etag()),
            answer.digest.map(|digest| digest.repr_digest()),
            answer.modified.and_then(date::format),
            answer.change_id.map(|change| change.to_string()),
        ];
        let [etag, repr_digest, modified, change_id] =
            in_one_block(&texts).or_err(ErrorType::InvalidHTTPHeader, "what is known of a body")?;
        Ok(Self { etag, repr_digest, modified, change_id })
    }

    /// Adds them. `Repr-Digest` stands only before a whole body: only that is checked against it.
    pub(super) fn add_to(&self, head: &mut ResponseHeader, plan: &Plan) -> pingora_core::Result<()> {
        let is_whole = matches!(plan, Plan::Whole);
        let repr_digest = self.repr_digest.as_ref().filter(|_| is_whole);
        let all = [
            (header::ETAG, self.etag.as_ref()),
            (header::LAST_MODIFIED, self.modified.as_ref()),
            (X_CHANGE_ID, self.change_id.as_ref()),
            (REPR_DIGEST, repr_digest),
        ];
        for (name, value) in all {
            if let Some(value) = value {
                head.insert_header(name, value.clone())?;
            }
        }
        Ok(())
    }
}

/// The texts as values that share one piece of memory.
fn in_one_block<const N: usize>(texts: &[Option<String>; N]) -> Result<[Option<HeaderValue>; N], InvalidHeaderValue> {
    let mut block = BytesMut::with_capacity(texts.iter().flatten().map(String::len).sum());
    let mut ends = Vec::with_capacity(N);
    for text in texts {
        block.put_slice(text.as_deref().unwrap_or_default().as_bytes());
        ends.push(block.len());
    }
    let block: Bytes = block.freeze();
    let mut values = [const { None }; N];
    let mut begin = 0;
    for ((value, text), end) in values.iter_mut().zip(texts).zip(ends) {
        if text.is_some() {
            *value = Some(HeaderValue::from_maybe_shared(block.slice(begin..end))?);
        }
        begin = end;
    }
    Ok(values)
}
