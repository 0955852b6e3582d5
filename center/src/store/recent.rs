//! What was used of late, within a bound.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A map of two generations: what is used moves into the young one; once that is full it becomes the old one, and what was old is
/// forgotten.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    /// That of the young ones.
    weight: usize,
    /// Of one generation.
    weight_max: usize,
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// One that holds values of that weight in all.
    pub(super) fn new(weight_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), weight: 0, weight_max: weight_max / 2 }
    }

    pub(super) fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, weight)) = self.old.remove_entry(key)?;
        self.put(key, value.clone(), weight);
        Some(value)
    }

    /// Notes a value, unless its weight is more than that of a generation.
    pub(super) fn put(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        if weight > self.weight_max {
            return;
        }
        if self.weight + weight > self.weight_max {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += weight;
        self.young.insert(key, (value, weight));
    }

    pub(super) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.old.remove(key);
        if let Some((_, weight)) = self.young.remove(key) {
            self.weight -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(recent: &Recent<u32, u32>) -> usize {
        recent.young.values().chain(recent.old.values()).map(|(_, weight)| weight).sum()
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut recent = Recent::new(100);
        for number in 0..1000 {
            recent.put(number, number, 3);
            assert_eq!(recent.get(&0), Some(0), "{number}: it is used all the time");
            assert_eq!(recent.get(&number), Some(number));
            assert!(weight(&recent) <= 100);
        }
        assert_eq!(recent.get(&1), None);
        assert!((10..=33).contains(&(0..1000).filter(|number| recent.young.contains_key(number)).count()));
    }

    #[test]
    fn a_value_is_there_once_or_not_at_all() {
        let mut recent = Recent::new(100);
        recent.put(1, 1, 40);
        recent.put(2, 2, 40);
        recent.put(1, 3, 20);
        assert_eq!((recent.get(&1), weight(&recent)), (Some(3), 60));
        recent.remove(&1);
        assert_eq!((recent.get(&1), weight(&recent)), (None, 40));
        recent.put(2, 4, 51);
        assert_eq!((recent.get(&2), weight(&recent)), (None, 0), "too heavy, and what was there counts no more");
    }
}
