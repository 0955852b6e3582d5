//! How an origin can be told to misbehave.

use std::time::Duration;

use bytes::Bytes;

/// One way of misbehaving. Numbers are bytes of the body.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Sends the header and so many bytes, then nothing, with the connection open.
    Stall(usize),
    /// Announces the whole length, sends so many bytes and closes.
    Truncate(usize),
    /// Sends so many bytes in chunks and closes without the last chunk.
    TruncateChunked(usize),
    /// Sends so many bytes, then a TCP reset.
    Reset(usize),
    /// Resets the connection before any answer.
    ResetAtOnce,
    /// Inverts the byte at this place: the length is right, the content is not.
    Flip(usize),
    /// Another body, in full.
    Replace(Bytes),
    /// This status and a short text.
    Status(u16),
    /// A whole answer of its own: status, header lines (each with its line end), body.
    Answer(u16, String, Bytes),
    /// The same bytes again and again, in chunks, until the client has had enough.
    Endless(Bytes),
    /// 429 with Retry-After in seconds.
    TooMany(u32),
    /// At most so many bytes a second.
    Slow(usize),
    /// Waits before it answers rightly.
    Delay(Duration),
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    part: String,
    fault: Fault,
    left: Option<usize>,
}

impl Script {
    pub(super) fn add(&mut self, part: &str, fault: Fault, times: Option<usize>) {
        self.rules.push(Rule { part: part.to_owned(), fault, left: times });
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault for a request of `path`; a counted rule is used up by this.
    pub(super) fn take(&mut self, path: &str) -> Option<Fault> {
        let rule = self.rules.iter_mut().rev().find(|rule| rule.left != Some(0) && path.contains(&rule.part))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }
}
