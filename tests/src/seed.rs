//! Randomness that can be repeated: the seed is printed, and `MODTIER_SEED` sets it.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// A seeded generator.
#[derive(Debug)]
pub struct Seed {
    generator: StdRng,
}

impl Seed {
    /// From `MODTIER_SEED`, or random. Printed in either case, so that a failure can be repeated.
    pub fn announced(test: &str) -> Self {
        Self::of(Self::number(test))
    }

    /// The number that [`announced`](Self::announced) begins from, for a test with several generators.
    pub fn number(test: &str) -> u64 {
        let seed = match std::env::var("MODTIER_SEED") {
            Ok(given) => given.parse().expect("MODTIER_SEED is a number"),
            Err(_) => rand::random(),
        };
        println!("{test}: MODTIER_SEED={seed}");
        seed
    }

    /// From this number.
    pub fn of(seed: u64) -> Self {
        Self { generator: StdRng::seed_from_u64(seed) }
    }

    /// One of these.
    pub fn choice<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.generator.random_range(0..of.len())]
    }

    /// A number of the range.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.generator.random_range(range)
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.generator.fill_bytes(&mut bytes);
        bytes
    }
}
