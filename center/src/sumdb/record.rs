//! The answer of a checksum database to a lookup: a numbered record of go.sum lines, and the signed tree head that covers it.

/// A lookup's answer, taken apart. Nothing in it is proven yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record<'b> {
    /// Its number in the log.
    pub(crate) id: u64,
    /// The go.sum lines: what the log's leaf hashes.
    pub(crate) text: &'b str,
    /// The signed note with the tree head.
    pub(crate) note: &'b [u8],
}

impl<'b> Record<'b> {
    /// Takes the body of a lookup apart; `None` when it does not have the shape of one.
    pub(crate) fn parse(body: &'b [u8]) -> Option<Self> {
        let body_text = std::str::from_utf8(body).ok()?;
        let (id, rest) = body_text.split_once('\n')?;
        if !id.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let id = id.parse::<i64>().ok().and_then(|id| u64::try_from(id).ok())?;
        let end = rest.find("\n\n")?;
        let text = &rest[..=end];
        let is_record = text.len() > 1 && !text.starts_with('\n') && !text.chars().any(|c| c < ' ' && c != '\n');
        let note = &rest.as_bytes()[end + 2..];
        is_record.then_some(Self { id, text, note })
    }

    /// The hashes that the record states for `version` (with or without `/go.mod`) of `module`.
    pub(crate) fn hashes<'r>(&'r self, module: &'r str, version: &'r str) -> impl Iterator<Item = &'r str> {
        self.text.lines().filter_map(move |line| {
            line.strip_prefix(module)?.strip_prefix(' ')?.strip_prefix(version)?.strip_prefix(' ')
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        "7\nm.test/a v1.0.0 h1:AA=\nm.test/a v1.0.0/go.mod h1:BB=\n\ngo.sum database tree\n8\nx\n\n— db y\n";

    #[test]
    fn a_record_is_taken_apart() {
        let record = Record::parse(BODY.as_bytes()).unwrap();
        assert_eq!(record.id, 7);
        assert_eq!(record.hashes("m.test/a", "v1.0.0").collect::<Vec<_>>(), ["h1:AA="]);
        assert_eq!(record.hashes("m.test/a", "v1.0.0/go.mod").collect::<Vec<_>>(), ["h1:BB="]);
        assert_eq!(record.hashes("m.test/a", "v1.0").count(), 0);
        assert_eq!(record.hashes("m.test", "v1.0.0").count(), 0);
        assert!(record.note.starts_with(b"go.sum database tree\n"));
    }

    #[test]
    fn lines_after_the_record_are_not_in_it() {
        // A line smuggled in behind the blank line is covered by no leaf hash.
        let body = BODY.replacen("\n\n", "\n\nm.test/a v1.0.0 h1:EVIL=\n", 1);
        let record = Record::parse(body.as_bytes()).unwrap();
        assert_eq!(record.hashes("m.test/a", "v1.0.0").collect::<Vec<_>>(), ["h1:AA="]);
    }

    #[test]
    fn other_bodies_are_refused() {
        for bad in [
            "",
            "7\n",
            "7\n\n\n",
            "x\na b c\n\n",
            "-7\na b c\n\n",
            "+7\na b c\n\n",
            "7\na b c\n",
            "7\na\u{1}b\n\n",
            "7\n\n\nabc",
        ] {
            assert_eq!(Record::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
