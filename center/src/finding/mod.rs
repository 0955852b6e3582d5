//! Finding things: the catalog in pages, search, the versions of a module, who requires it.
//!
//! [`Scope`] is what somebody looks through: one repository, a virtual one standing for its members, or all. What a module's
//! owner keeps from a member is not found there either. [`indexer`] follows the change logs for what cannot be read off the
//! records' own order.

mod catalog;
mod downloads;
mod indexer;
mod versions;

use std::sync::Arc;

pub(crate) use self::catalog::{Page, page, search};
pub(crate) use self::downloads::Downloads;
pub(crate) use self::indexer::Indexer;
pub(crate) use self::versions::versions;
use crate::app::App;
use crate::error::Failure;
use crate::repository::{Repository, RepositoryKind};

/// What somebody looks through.
pub(crate) struct Scope {
    /// Of the repositories that hold something, those that belong to it, in the order in which they answer.
    pub(crate) leaves: Vec<String>,
    owner: Option<Arc<Repository>>,
}

impl Scope {
    /// A repository by its name, or all.
    pub(crate) fn of(app: &App, repository: Option<&str>) -> Result<Self, Failure> {
        if let Some(name) = repository {
            let repository = app.repository(name)?;
            return Ok(Self { leaves: repository.leaves(), owner: Some(Arc::clone(repository)) });
        }
        let leaf = |repository: &&Arc<Repository>| repository.kind() != RepositoryKind::Virtual;
        let leaves = app.repositories.iter().filter(leaf).map(|leaf| leaf.name().to_owned()).collect();
        Ok(Self { leaves, owner: app.repositories.iter().next().cloned() })
    }

    /// The repositories that may answer for a module.
    pub(crate) fn of_module<'a>(&'a self, module: &'a str) -> impl Iterator<Item = &'a str> {
        self.leaves.iter().map(String::as_str).filter(move |leaf| self.may_answer(leaf, module))
    }

    fn may_answer(&self, leaf: &str, module: &str) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner.lets_answer(leaf, module))
    }
}
