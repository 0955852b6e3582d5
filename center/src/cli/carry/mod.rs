//! Carrying modules from one place to another: out of a center into a bundle, and into a center out of a bundle, a module
//! cache or another proxy.
//!
//! A bundle (`bundle`) is a tar with the paths of a GOPROXY, so that what is unpacked is one too. `proofs` knows which records and
//! tiles of a checksum database belong to a version. Whatever comes is judged twice: here against the sums that came with it,
//! and by the center as if it had been published or fetched.

mod bundle;
mod export;
mod import;
mod proofs;
mod tree;
mod wanted;

pub(crate) use self::export::Export;
pub(crate) use self::import::Import;
