//! Go string literals, read as `strconv.Unquote` reads them.

/// The value of a literal in double or back quotes; `None` if it is malformed. Bytes that form no UTF-8 become U+FFFD.
pub(super) fn unquote(literal: &str) -> Option<String> {
    let quote = literal.chars().next()?;
    let body = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    match quote {
        '`' if !body.contains('`') => Some(body.replace('\r', "")),
        '"' if !body.contains('\n') => interpret(body),
        _ => None,
    }
}

fn interpret(body: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => return None,
            '\\' => escape(&mut rest, &mut bytes)?,
            c => push(&mut bytes, c),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn escape(rest: &mut std::str::Chars<'_>, bytes: &mut Vec<u8>) -> Option<()> {
    match rest.next()? {
        'a' => bytes.push(0x07),
        'b' => bytes.push(0x08),
        'f' => bytes.push(0x0c),
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'v' => bytes.push(0x0b),
        '\\' => bytes.push(b'\\'),
        '"' => bytes.push(b'"'),
        'x' => bytes.push(u8::try_from(number(rest, 0, 2, 16)?).ok()?),
        'u' => push(bytes, char::from_u32(number(rest, 0, 4, 16)?)?),
        'U' => push(bytes, char::from_u32(number(rest, 0, 8, 16)?)?),
        octal => bytes.push(u8::try_from(number(rest, octal.to_digit(8)?, 2, 8)?).ok()?),
    }
    Some(())
}

fn number(rest: &mut std::str::Chars<'_>, first: u32, digits: usize, radix: u32) -> Option<u32> {
    (0..digits).try_fold(first, |value, _| {
        let digit = rest.next()?.to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::unquote;

    #[test]
    fn literals() {
        for (literal, value) in [
            (r#""a\tb\"\\""#, Some("a\tb\"\\")),
            (r#""\x41\101\u0042\U00000043""#, Some("AABC")),
            (r#""\q""#, None),
            (r#""\400""#, None),
            (r#""\ud800""#, None),
            (r#""\'""#, None),
            (r#""a"b""#, None),
            (r#"""#, None),
            ("`a\\n\r`", Some("a\\n")),
            ("`a`b`", None),
        ] {
            assert_eq!(unquote(literal).as_deref(), value, "{literal}");
        }
    }
}
