//! Which centers a request may go to.

/// What the choice of a center depends on. None of it is in a cache key: every center gives the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RouteKey {
    /// The tenant that is served.
    pub(crate) tenant: String,
    /// The module's path; none for parts of a checksum database.
    pub(crate) module: Option<String>,
    /// What the client's label header says.
    pub(crate) label: Option<String>,
}
