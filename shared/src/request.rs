//! What a client asks for, read once from the URL's path into a value. Routing, access, cache keys and upstream URLs all come
//! from that value and from nothing else, so no two spellings of a path can mean different things to two parts of the program.
//!
//! Reading has two steps. [`decode_path`] undoes percent-encoding once and refuses what no `go` command sends (400).
//! [`Request::parse`] then finds the form and unescapes it as `golang.org/x/mod` does; what that refuses does not exist (404).

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use crate::artefact::Artefact;
use crate::module::{self, ModulePath, Version};

/// Longest path in bytes, as it comes.
pub const PATH_BYTES_MAX: usize = 8 << 10;

/// Something that can be asked of a proxy, without tenant and repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// An artefact of a module.
    Module(ModuleRequest),
    /// A part of a checksum database.
    Sumdb(SumdbRequest),
}

/// An artefact of a module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModuleRequest {
    /// Whose.
    pub module: ModulePath,
    /// Which.
    pub artefact: Artefact,
}

/// A part of a checksum database, below `sumdb/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SumdbRequest {
    /// The database's name, such as `sum.golang.org`; it may contain slashes.
    pub name: String,
    /// Which part.
    pub part: SumdbPart,
}

/// The parts of a checksum database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SumdbPart {
    /// `supported`: whether this proxy answers for the database.
    Supported,
    /// `latest`: the signed tree head.
    Latest,
    /// `lookup/<module>@<version>`: the record of a version.
    Lookup {
        /// The module, unescaped.
        module: ModulePath,
        /// The version in escaped form, as it came; it unescapes.
        version: String,
    },
    /// `tile/…`: a tile of the log, as its whole path from `tile/` on, in the only spelling there is.
    Tile(String),
}

/// Why a path is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A path that no `go` command sends: 400.
    #[error("malformed path: {0}")]
    Malformed(String),
    /// A path that names nothing that can exist: 404, with the reason.
    #[error("{0}")]
    NotFound(String),
}

impl Request {
    /// Reads a path below the base, without its leading `/`, still percent-encoded.
    pub fn parse(raw_path: &str) -> Result<Self, ParseError> {
        let path = decode_path(raw_path)?;
        match path.strip_prefix("sumdb/") {
            Some(rest) => parse_sumdb(rest).map(Self::Sumdb),
            None => parse_module(&path).map(Self::Module),
        }
    }

    /// The path that [`parse`](Self::parse) reads back into this request: for an upstream's URL. `!` stays as it is; nothing is
    /// percent-encoded, except characters in queries and database names that a URL's path cannot hold.
    pub fn to_path(&self) -> String {
        let mut path = String::new();
        for c in self.to_string().chars() {
            if c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c) {
                path.push(c);
            } else {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a string cannot fail.
                    let _ = write!(path, "%{byte:02X}");
                }
            }
        }
        path
    }
}

/// The decoded path.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(ModuleRequest { module, artefact }) => {
                write!(f, "{}/{}", module.escaped(), artefact.file_name())
            }
            Self::Sumdb(SumdbRequest { name, part }) => write!(f, "sumdb/{name}/{part}"),
        }
    }
}

/// The path below the database.
impl fmt::Display for SumdbPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supported => f.write_str("supported"),
            Self::Latest => f.write_str("latest"),
            Self::Lookup { module, version } => write!(f, "lookup/{}@{version}", module.escaped()),
            Self::Tile(tile) => f.write_str(tile),
        }
    }
}

/// Decodes percent-encoding once, and refuses what no `go` command sends: an invalid or second encoding, control characters,
/// backslashes, empty, `.` and `..` elements, a query or fragment, more than [`PATH_BYTES_MAX`] bytes.
pub fn decode_path(raw: &str) -> Result<Cow<'_, str>, ParseError> {
    let malformed = |reason: &str| Err(ParseError::Malformed(reason.to_owned()));
    if raw.len() > PATH_BYTES_MAX {
        return Err(ParseError::Malformed(format!("longer than {PATH_BYTES_MAX} bytes")));
    }
    // What nearly all paths are made of needs no decoding, and no search for anything but empty and dot elements.
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'/' | b'@');
    let path = if raw.bytes().all(plain) { Cow::Borrowed(raw) } else { Cow::Owned(decode_unusual(raw)?) };
    // One empty element may stand at the end: such a path is well formed, but names nothing.
    if path.starts_with('/') || path.contains("//") {
        return malformed("empty path element");
    }
    if path.split('/').any(|element| matches!(element, "." | "..")) {
        return malformed("dot path element");
    }
    Ok(path)
}

fn decode_unusual(raw: &str) -> Result<String, ParseError> {
    let malformed = |reason: &str| Err(ParseError::Malformed(reason.to_owned()));
    if raw.contains(['?', '#']) {
        return malformed("query or fragment");
    }
    let Some(path) = decode_percent(raw) else { return malformed("invalid percent-encoding") };
    if path.contains('%') {
        return malformed("second percent-encoding");
    }
    if path.contains(char::is_control) {
        return malformed("control character");
    }
    if path.contains('\\') {
        return malformed("backslash");
    }
    Ok(path)
}

/// Decodes percent-encoding; `None` for a `%` without two hex digits, and for bytes that are no UTF-8.
pub fn decode_percent(raw: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn parse_module(path: &str) -> Result<ModuleRequest, ParseError> {
    // No module path has an `@`, so the first `/@` begins the artefact.
    let (module, file) = path.split_once("/@").ok_or_else(|| no_such_path(path))?;
    let unescape = || ModulePath::unescape(module).map_err(|e| ParseError::NotFound(e.to_string()));
    let artefact = match file.strip_prefix("v/") {
        None if file == "latest" => return Ok(ModuleRequest { module: unescape()?, artefact: Artefact::Latest }),
        None => return Err(no_such_path(path)),
        Some("list") => return Ok(ModuleRequest { module: unescape()?, artefact: Artefact::List }),
        Some(file) => file,
    };
    let (escaped, extension) = artefact.rsplit_once('.').ok_or_else(|| no_such_path(path))?;
    let immutable: fn(Version) -> Artefact = match extension {
        "info" => Artefact::Info,
        "mod" => Artefact::Mod,
        "zip" => Artefact::Zip,
        _ => return Err(no_such_path(path)),
    };
    let module = unescape()?;
    let version = module::unescape_version(escaped).map_err(|e| ParseError::NotFound(e.to_string()))?;
    let artefact = match Version::new(&module, &version) {
        Ok(version) => immutable(version),
        Err(_) if extension == "info" => Artefact::Query(version),
        Err(_) => return Err(ParseError::NotFound(format!("version {version:?} is not canonical"))),
    };
    Ok(ModuleRequest { module, artefact })
}

fn parse_sumdb(path: &str) -> Result<SumdbRequest, ParseError> {
    let missing = || no_such_path(&format!("sumdb/{path}"));
    let lookup = path.find("/lookup/");
    let tile = path.find("/tile/");
    let is_tile = tile.is_some_and(|at| lookup.is_none_or(|lookup| at < lookup));
    let (name, part) = if let Some(at) = if is_tile { tile } else { lookup } {
        let (name, part) = (&path[..at], &path[at + 1..]);
        (name, if is_tile { parse_tile(part) } else { parse_lookup(part)? })
    } else if let Some(name) = path.strip_suffix("/supported") {
        (name, Some(SumdbPart::Supported))
    } else if let Some(name) = path.strip_suffix("/latest") {
        (name, Some(SumdbPart::Latest))
    } else {
        return Err(missing());
    };
    // What a signed note accepts as a key's name.
    let valid_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+');
    match part {
        Some(part) if valid_name => Ok(SumdbRequest { name: name.to_owned(), part }),
        _ => Err(missing()),
    }
}

/// Reads `lookup/<module>@<version>`.
fn parse_lookup(part: &str) -> Result<Option<SumdbPart>, ParseError> {
    let Some((module, version)) = part.strip_prefix("lookup/").and_then(|rest| rest.split_once('@')) else {
        return Ok(None);
    };
    let module = ModulePath::unescape(module).map_err(|e| ParseError::NotFound(e.to_string()))?;
    module::unescape_version(version).map_err(|e| ParseError::NotFound(e.to_string()))?;
    Ok(Some(SumdbPart::Lookup { module, version: version.to_owned() }))
}

/// Accepts `tile/<H>/<L>/<K>[.p/<W>]` in the one spelling that `tlog.Tile.Path` writes.
fn parse_tile(part: &str) -> Option<SumdbPart> {
    let mut elements: Vec<&str> = part.strip_prefix("tile/")?.split('/').collect();
    let height = number(elements.first()?).filter(|height| (1..=30).contains(height))?;
    let level = *elements.get(1)?;
    if level != "data" {
        number(level)?;
    }
    // The width of a partial tile, without which the last element is a number of three digits.
    if let [_, _, .., last, width] = elements.as_mut_slice()
        && let Some(stem) = last.strip_suffix(".p")
    {
        number(width).filter(|&width| width > 0 && width < 1 << height)?;
        *last = stem;
        elements.pop();
    }
    let (last, groups) = elements.get(2..)?.split_last()?;
    let three_digits = |text: &&str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    let digits: Option<String> = groups.iter().map(|group| group.strip_prefix('x').filter(three_digits)).collect();
    let index = digits? + Some(*last).filter(three_digits)?;
    // A first group of zeros would be a second spelling of the same number.
    let second_spelling = index.len() > 3 && index.starts_with("000");
    (!second_spelling && index.parse::<i64>().is_ok()).then(|| SumdbPart::Tile(part.to_owned()))
}

/// A decimal number without leading zeros.
fn number(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn no_such_path(path: &str) -> ParseError {
    ParseError::NotFound(format!("no such path {path:?}"))
}

#[cfg(test)]
mod tests;
