//! One file a subject: what each route does.

pub(crate) mod catalog;
pub(crate) mod changes;
pub(crate) mod detail;
pub(crate) mod intake;
pub(crate) mod manifest;
mod matrix;
pub(crate) mod module;
pub(crate) mod oversight;
mod pages;
mod parameters;
mod publish;
pub(crate) mod refresh;
pub(crate) mod status;
mod sumdb;
pub(crate) mod tokens;
pub(crate) mod upkeep;
mod upload;
pub(crate) mod webhook;

#[cfg(test)]
mod tests;
