//! One file a subject: what each route does.

pub(crate) mod changes;
pub(crate) mod manifest;
pub(crate) mod module;
mod publish;
pub(crate) mod status;
mod sumdb;
pub(crate) mod upkeep;

#[cfg(test)]
mod tests;
pub(crate) mod webhook;
