//! The model: which versions were there when.
//!
//! A change counts as having happened at some moment between its request and its answer; what may be seen by a client follows
//! from that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use modtier_tests::{BuiltModule, Module};

/// How many modules there are.
pub(crate) const MODULES: u64 = 3;

/// The versions of all modules.
#[derive(Default)]
pub(crate) struct Truth(Mutex<BTreeMap<(u64, u64), Version>>);

struct Version {
    built: Arc<BuiltModule>,
    steps: Vec<Step>,
}

/// A publish, removal or restoration.
struct Step {
    is_there: bool,
    asked: Instant,
    answered: Option<Instant>,
}

/// What a client may see of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) may_be_there: bool,
    pub(crate) may_be_absent: bool,
}

/// The module's path.
pub(crate) fn path(module: u64) -> String {
    format!("corp.example/m{module}")
}

/// The number that stands for a version such as `v1.0.7`.
pub(crate) fn number(version: &str) -> Option<u64> {
    version.strip_prefix("v1.0.")?.parse().ok()
}

impl Truth {
    /// The next version of a module, made and known to be asked for.
    pub(crate) fn next(&self, module: u64) -> (u64, Arc<BuiltModule>) {
        let number = self.last(module) + 1;
        // Below and above what an edge keeps in its index.
        let size = if number.is_multiple_of(3) { 60_000 } else { 200 };
        let built =
            Module::new(&path(module), &format!("v1.0.{number}")).package().ballast(size, module * 1000 + number);
        let built = Arc::new(built.build());
        let step = Step { is_there: true, asked: Instant::now(), answered: None };
        let version = Version { built: Arc::clone(&built), steps: vec![step] };
        self.lock().insert((module, number), version);
        (number, built)
    }

    /// A version is about to be removed or restored.
    pub(crate) fn asks(&self, module: u64, number: u64, is_there: bool) {
        let mut versions = self.lock();
        let version = versions.get_mut(&(module, number)).expect("only what was published is changed");
        version.steps.push(Step { is_there, asked: Instant::now(), answered: None });
    }

    /// The last change of a version is done.
    pub(crate) fn done(&self, module: u64, number: u64) {
        let mut versions = self.lock();
        let step = versions.get_mut(&(module, number)).and_then(|version| version.steps.last_mut());
        step.expect("only what was asked for is done").answered = Some(Instant::now());
    }

    /// The number of a module's newest version, removed or not; 0 for none.
    pub(crate) fn last(&self, module: u64) -> u64 {
        self.lock().range((module, 0)..(module + 1, 0)).next_back().map_or(0, |((_, number), _)| *number)
    }

    /// Whether a version is there now.
    pub(crate) fn is_there(&self, module: u64, number: u64) -> bool {
        self.lock().get(&(module, number)).and_then(|version| version.steps.last()).is_some_and(|step| step.is_there)
    }

    /// What was published as this version.
    pub(crate) fn built(&self, module: u64, number: u64) -> Option<Arc<BuiltModule>> {
        self.lock().get(&(module, number)).map(|version| Arc::clone(&version.built))
    }

    /// Every version that ever was, oldest first.
    pub(crate) fn all(&self) -> Vec<(u64, u64)> {
        self.lock().keys().copied().collect()
    }

    /// What may be seen of a version by somebody who sees any moment of this time.
    pub(crate) fn seen(&self, module: u64, number: u64, from: Instant, to: Instant) -> Seen {
        let versions = self.lock();
        let mut seen = Seen { may_be_there: false, may_be_absent: false };
        let steps = versions.get(&(module, number)).map_or(&[][..], |version| &version.steps);
        // Before the first step there is nothing.
        let states = std::iter::once((false, None)).chain(steps.iter().map(|step| (step.is_there, Some(step.asked))));
        let ends = steps.iter().map(|step| step.answered).chain([None]);
        for ((is_there, begins), ends) in states.zip(ends) {
            if begins.is_none_or(|begins| begins <= to) && ends.is_none_or(|ends| ends >= from) {
                seen.may_be_there |= is_there;
                seen.may_be_absent |= !is_there;
            }
        }
        seen
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Version>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
