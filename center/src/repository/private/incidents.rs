//! What the egress proxy saw, as the reason of a failure.

use crate::egress::Incident;
use crate::repository::RepoError;
use crate::repository::answer::RETRY_AFTER;

/// What the proxy refused or could not do explains a failure better than the words of the program behind it.
pub(super) fn explanation(what: &str, incidents: &[Incident]) -> Option<RepoError> {
    let gravest = incidents.iter().max_by_key(|incident| match incident {
        Incident::TimedOut(_) => 0,
        Incident::Unreachable(_) => 1,
        Incident::Refused(_) => 2,
    })?;
    Some(match gravest {
        Incident::Refused(_) => RepoError::Blocked(format!(
            "{what}: the center may not connect to its source; its log says what to configure"
        )),
        Incident::Unreachable(_) => unavailable(format!("{what}: its source cannot be reached")),
        Incident::TimedOut(_) => RepoError::Timeout(format!("{what}: its source does not answer")),
    })
}

/// Nobody could be asked.
pub(super) fn unavailable(msg: String) -> RepoError {
    RepoError::Unavailable { msg, retry_after: RETRY_AFTER }
}
