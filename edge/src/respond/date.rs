//! Dates as HTTP writes them (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// The header's text; none for a time that no calendar holds.
pub(crate) fn format(at: SystemTime) -> Option<String> {
    let seconds = at.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let seconds = i64::try_from(seconds).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(FORMAT).ok()
}

/// The time in a header. The obsolete forms are not read: such a condition is as if it were absent.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let parsed = PrimitiveDateTime::parse(text.trim(), FORMAT).ok()?;
    let seconds = u64::try_from(parsed.assume_utc().unix_timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_example_is_written_and_read() {
        let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(format(at).as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(at));
    }

    #[test]
    fn other_text_is_no_date() {
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:37 GMT"), None);
    }
}
