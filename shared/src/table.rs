//! Plain tables for people.

use std::fmt::Write as _;

use serde_json::Value;

/// Columns as wide as their widest cell.
pub fn table(names: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([names[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..names.len()).map(width).collect();
    let mut out = String::new();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&names).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A text of the answer. What comes from elsewhere must not move a terminal's cursor.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A number of the answer, with at most two decimals.
pub fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 => format!("{number:.0}"),
        Some(number) => format!("{number:.2}"),
        None => text(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME    N\na       1\nlonger  2\n");
    }

    #[test]
    fn values_are_plain() {
        assert_eq!(
            [json!(3), json!(1.0), json!(0.125), json!(null)].map(|value| number(&value)),
            ["3", "1", "0.12", "-"]
        );
        assert_eq!(text(&json!("a\u{1b}[2Jb")), "a?[2Jb");
    }
}
