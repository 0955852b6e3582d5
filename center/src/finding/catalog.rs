//! Modules in the order of their names, page by page. A page begins after a name and not at a number, so what comes and goes
//! meanwhile neither repeats nor hides another module.

use std::collections::BTreeSet;

use super::Scope;
use crate::store::{Store, StoreError};

/// Pages that may turn out empty, because all of their modules are kept from the members that hold them.
const ROUNDS: usize = 16;
/// Modules that one search looks at; it says where to go on.
const EXAMINED_MAX: usize = 20_000;
/// Modules that a search remembers for what their properties say.
const DESCRIBED_MAX: usize = 10_000;
/// Modules that a search takes at a time.
const STEP: usize = 500;

/// Some modules, and where the next ones begin.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// The module paths, in order.
    pub(crate) modules: Vec<String>,
    /// The name after which the next page begins; none at the end.
    pub(crate) next: Option<String>,
}

/// The modules whose names begin with `prefix`, after a name.
pub(crate) async fn page(
    store: &Store,
    scope: &Scope,
    prefix: &str,
    after: &str,
    size: usize,
) -> Result<Page, StoreError> {
    let mut after = after.to_owned();
    for _ in 0..ROUNDS {
        let mut names = BTreeSet::new();
        let mut bound: Option<String> = None;
        for leaf in &scope.leaves {
            let found = store.modules(leaf, prefix, &after, size + 1).await?;
            // Nothing is known of what this repository has beyond its page.
            if let Some(last) = found.last().filter(|_| found.len() > size) {
                bound = Some(bound.map_or(last.clone(), |bound| bound.min(last.clone())));
            }
            names.extend(found.into_iter().filter(|module| scope.may_answer(leaf, module)));
        }
        let mut modules: Vec<String> =
            names.into_iter().take_while(|name| bound.as_ref().is_none_or(|bound| name <= bound)).collect();
        if modules.len() > size {
            modules.truncate(size);
            let next = modules.last().cloned();
            return Ok(Page { modules, next });
        }
        match bound {
            Some(bound) if modules.is_empty() => after = bound,
            next => return Ok(Page { modules, next }),
        }
    }
    Ok(Page { modules: Vec::new(), next: Some(after) })
}

/// The modules in whose name or properties all of the words stand, after a name. What is looked at in one call is limited:
/// there may be a next page though this one is not full.
pub(crate) async fn search(
    store: &Store,
    scope: &Scope,
    words: &[String],
    after: &str,
    size: usize,
) -> Result<Page, StoreError> {
    let described = described(store, scope, words).await?;
    let mut found = Page { modules: Vec::new(), next: Some(after.to_owned()) };
    let mut examined = 0;
    while let Some(after) = found.next.take() {
        let step = page(store, scope, "", &after, STEP).await?;
        for module in step.modules {
            examined += 1;
            if described.contains(&module) || holds(&module.to_lowercase(), words) {
                found.modules.push(module.clone());
                if found.modules.len() == size {
                    found.next = Some(module);
                    return Ok(found);
                }
            }
        }
        found.next = step.next;
        if examined >= EXAMINED_MAX {
            break;
        }
    }
    Ok(found)
}

/// The modules of which one set of properties, with the name, has all the words.
async fn described(store: &Store, scope: &Scope, words: &[String]) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    for leaf in &scope.leaves {
        store
            .for_each_property(leaf, |module, _, properties| {
                let mut text = module.to_lowercase();
                for value in properties.values.values().flatten() {
                    text.push('\n');
                    text.push_str(&value.to_lowercase());
                }
                if found.len() < DESCRIBED_MAX && holds(&text, words) {
                    found.insert(module.to_owned());
                }
            })
            .await?;
    }
    Ok(found)
}

fn holds(text: &str, words: &[String]) -> bool {
    words.iter().all(|word| text.contains(word.as_str()))
}
