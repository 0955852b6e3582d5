//! Module paths, versions and module zips, exactly as `golang.org/x/mod` judges them.
//!
//! The `go` command and every checksum database decide with `x/mod` what a module path, a version and a
//! module zip is. A proxy that judged differently would serve names that `go` refuses, or refuse names that
//! `go` serves, so this room has one rule: same verdict, same result. `tests/tests/go/oracle/operations.rs` asks the
//! Go library the same questions and compares.
//!
//! Two words recur. An *escaped* path or version is the form on the wire, where `!b` stands for `B`, so that
//! it survives file systems that ignore case. A version is *canonical* for a path when `x/mod` accepts the
//! pair and the version is already in its full form (`v1.2` is a query, `v1.2.0` a version).

mod escape;
pub mod gomod;
pub mod h1;
mod path;
mod pattern;
pub mod pseudo;
pub mod semver;
pub mod unicode;
mod version;
pub mod zip;

pub use escape::{escape_path, escape_version, unescape_path, unescape_version};
pub use path::{ModulePath, PathError, check_file_path, check_import_path, check_path, split_path_version};
pub use pattern::{PatternError, Patterns, match_prefix_patterns};
pub use version::{Version, VersionError, canonical_version, check, check_path_major};
