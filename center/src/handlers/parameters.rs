//! The parameters of a query: none that is not known, none twice, numbers within bounds.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::access::Place;

use crate::error::Failure;

/// What stands after the question mark.
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// Those of a request; other names than these are a mistake that is told.
    pub(super) fn read(given: HashMap<String, String>, known: &[&str]) -> Result<Self, Failure> {
        match given.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(bad(name, &format!("there is no such parameter; there are {}", known.join(", ")))),
            None => Ok(Self(given)),
        }
    }

    /// A text; none if it is missing or empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A number within bounds.
    pub(super) fn number(&self, name: &str, default: usize, bounds: RangeInclusive<usize>) -> Result<usize, Failure> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| bad(name, &format!("not a number from {} to {}", bounds.start(), bounds.end())))
    }

    /// The name behind a token that [`token`] made; empty without one.
    pub(super) fn after(&self, name: &str) -> Result<String, Failure> {
        let Some(text) = self.text(name) else { return Ok(String::new()) };
        let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        decoded.filter(|after| !after.contains('\0')).ok_or_else(|| bad(name, "not one that was given out here"))
    }
}

/// What a request is about by its parameter `repo`: what it may see depends on that.
pub(super) fn place_of(given: &HashMap<String, String>) -> Place<'_> {
    match given.get("repo").filter(|name| !name.is_empty()) {
        Some(name) => Place::Repository(name),
        None => Place::Everywhere,
    }
}

/// A token for the page after a name. What it means is ours to change.
pub(super) fn token(after: &str) -> String {
    URL_SAFE_NO_PAD.encode(after)
}

/// What is wrong with a parameter.
pub(super) fn bad(name: &str, why: &str) -> Failure {
    Failure::BadRequest(format!("parameter {name}: {why}"))
}
