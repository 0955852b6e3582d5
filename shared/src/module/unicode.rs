//! The two questions about Unicode on which a verdict depends: is it a letter, and what does it fold to.
//!
//! Go answers from the tables compiled into it (`unicode.IsLetter`, `unicode.SimpleFold`). Rust's
//! `char::is_alphabetic` is a wider class and `to_lowercase` another mapping, both from another Unicode version, so
//! the tables here are written out by Go itself (`go run . tables` in `tests/oracle`); a test compares
//! every code point with the installed Go and says how to renew them when it has moved on.

#[rustfmt::skip]
#[path = "unicode_tables.rs"]
mod tables;

/// The Unicode version of the tables, as Go's `unicode.Version` names it.
pub const VERSION: &str = tables::VERSION;

/// Whether `c` is in Unicode's category L (letter), as Go's `unicode.IsLetter`.
pub fn is_letter(c: char) -> bool {
    let code = u32::from(c);
    let after = tables::LETTERS.partition_point(|&(first, _)| first <= code);
    after.checked_sub(1).is_some_and(|at| code <= tables::LETTERS[at].1)
}

/// The representative of all characters that equal `c` under Unicode simple case folding.
///
/// Two strings are equal for Go's `strings.EqualFold` exactly when their characters' representatives are.
/// For ASCII letters it is the lower-case one.
pub fn fold(c: char) -> char {
    let code = u32::from(c);
    let after = tables::FOLDS.partition_point(|&(first, ..)| first <= code);
    let Some(&(first, last, step, target)) = after.checked_sub(1).map(|at| &tables::FOLDS[at]) else {
        return c;
    };
    if code > last || !(code - first).is_multiple_of(step) {
        return c;
    }
    char::from_u32(target + (code - first)).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_category_l_only() {
        for c in ['a', 'Z', 'é', 'ß', '漢', 'ª', 'ʰ', '\u{1E900}'] {
            assert!(is_letter(c), "{c:?}");
        }
        // Nl, Other_Alphabetic, digits, marks: alphabetic to Rust, no letters to Go.
        for c in ['Ⅷ', 'ⓐ', '\u{345}', '٣', '1', '_', '\u{301}', '😀'] {
            assert!(!is_letter(c), "{c:?}");
        }
    }

    #[test]
    fn folding_follows_the_whole_orbit() {
        assert_eq!(fold('K'), 'k');
        assert_eq!(fold('\u{212A}'), 'k'); // KELVIN SIGN
        assert_eq!(fold('ſ'), 's');
        assert_eq!(fold('é'), 'É');
        assert_eq!(fold('É'), 'É');
        assert_eq!(fold('ς'), fold('Σ'));
        assert_eq!(fold('漢'), '漢');
    }
}
