//! Cuts a `go.mod` into lines and blocks with their comments, by the lexical rules of `modfile`.

/// One directive: its tokens, the comments above it and the one behind it.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) tokens: Vec<String>,
    pub(super) before: Vec<String>,
    pub(super) suffix: Vec<String>,
}

/// Directives in parentheses after a common verb.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) tokens: Vec<String>,
    pub(super) lines: Vec<Line>,
    pub(super) before: Vec<String>,
}

/// A top-level piece of the file.
#[derive(Debug)]
pub(super) enum Statement {
    Line(Line),
    Block(Block),
}

/// One line of text, cut into tokens, with its comment.
struct Row {
    tokens: Vec<String>,
    comment: Option<String>,
}

/// The statements of a file; `None` if it breaks the lexical rules.
pub(super) fn parse(text: &str) -> Option<Vec<Statement>> {
    let mut statements = Vec::new();
    let mut comments = Vec::new();
    let mut rows = text.split('\n').map(cut);
    while let Some(row) = rows.next() {
        let Row { mut tokens, comment } = row?;
        if tokens.is_empty() {
            match comment {
                Some(comment) => comments.push(comment),
                // A blank line parts a comment from what follows.
                None => comments.clear(),
            }
            continue;
        }
        let before = std::mem::take(&mut comments);
        if tokens.len() > 1 && tokens.last().is_some_and(|token| token == "(") {
            tokens.pop();
            let lines = parse_block(&mut rows)?;
            // A comment behind a parenthesis is the parenthesis's own.
            statements.push(Statement::Block(Block { tokens, lines, before }));
        } else if tokens.len() > 2 && tokens.ends_with(&["(".to_owned(), ")".to_owned()]) {
            tokens.truncate(tokens.len() - 2);
            statements.push(Statement::Block(Block { tokens, lines: Vec::new(), before }));
        } else {
            let suffix = Vec::from_iter(comment);
            statements.push(Statement::Line(Line { tokens, before, suffix }));
        }
    }
    Some(statements)
}

fn parse_block(rows: &mut impl Iterator<Item = Option<Row>>) -> Option<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    let mut before = Vec::new();
    loop {
        let Row { tokens, comment } = rows.next()??;
        match tokens.first().map(String::as_str) {
            None => match comment {
                Some(comment) => before.push(comment),
                // Inside a block a blank line is kept as a blank comment between the others.
                None if !before.is_empty() || !lines.is_empty() => before.push(String::new()),
                None => {}
            },
            Some(")") if tokens.len() == 1 => return Some(lines),
            Some(")") => return None,
            Some(_) => {
                let suffix = Vec::from_iter(comment);
                lines.push(Line { tokens, before: std::mem::take(&mut before), suffix });
            }
        }
    }
}

/// Cuts one line of text. Strings end on their line, and `/*` is refused.
fn cut(row: &str) -> Option<Row> {
    let mut tokens = Vec::new();
    let mut rest = row;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r']);
        let Some(first) = rest.chars().next() else { return Some(Row { tokens, comment: None }) };
        if rest.starts_with("//") {
            let comment = rest.strip_suffix('\r').unwrap_or(rest);
            return Some(Row { tokens, comment: Some(comment.to_owned()) });
        }
        let end = match first {
            '(' | ')' | '[' | ']' | '{' | '}' | ',' => 1,
            '"' | '`' => string_end(rest, first)?,
            _ => identifier_end(rest)?,
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token.to_owned());
        rest = after;
    }
}

fn string_end(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at + 1);
        }
        if c == '\\' && quote == '"' {
            chars.next()?;
        }
    }
    None
}

fn identifier_end(text: &str) -> Option<usize> {
    let stops = |c: char| c.is_whitespace() || c.is_control() || "()[]{},".contains(c);
    let end = text.find(stops).unwrap_or(text.len());
    let end = text[..end].find("//").unwrap_or(end);
    (end > 0 && !text[..end].contains("/*")).then_some(end)
}
