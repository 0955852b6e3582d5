//! Which modules are asked for most, and how long their answers take: an estimate of fixed size.
//!
//! A *space-saving sketch* (Metwally, Agrawal, El Abbadi 2005) counts 200 modules. A module that is not among them takes
//! the place of the least asked one and its count, which is noted as the possible overcount; so whatever is asked more
//! often than one time in 200 is surely there, and the list's head is exact for the skewed traffic that modules have.
//! Counts halve every ten minutes: the list is about now.
//!
//! Requests only add to a short list of their thread's; every 256th merges it. When that is often, one in eight counts
//! eightfold.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::GaugeVec;
use serde::Serialize;
use shared::module::ModulePath;
use shared::telemetry::float_gauge_vec;

/// Modules that are counted.
const TRACKED: usize = 200;
/// Modules whose latency is exported as figures.
const EXPORTED: usize = 20;
/// Samples that a thread keeps before it merges them.
const KEPT: usize = 256;
/// A thread that fills its list faster than this only looks at one request in [`SPARSE`].
const BUSY: Duration = Duration::from_millis(50);
const SPARSE: u32 = 8;
const HALF_LIFE: Duration = Duration::from_mins(10);
const LANES: usize = 16;
const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

/// The modules asked for most.
pub(crate) struct Popularity {
    lanes: [Mutex<Lane>; LANES],
    sketch: Mutex<Sketch>,
    latency: GaugeVec,
}

/// A module that is asked for often.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HotModule {
    /// Its path.
    pub(crate) module: ModulePath,
    /// Requests lately, each weighing half after ten minutes.
    pub(crate) requests: u64,
    /// How many of them may have been another module's.
    pub(crate) overcount: u64,
    /// Half of the answers took no longer than this many seconds.
    pub(crate) p50_seconds: f64,
    /// 99 of 100 answers took no longer than this many seconds.
    pub(crate) p99_seconds: f64,
}

struct Lane {
    samples: Vec<(ModulePath, Duration)>,
    begun: Instant,
    weight: u32,
    passed: u32,
}

impl Popularity {
    /// Counts nothing yet.
    pub(crate) fn new() -> Self {
        let lane = || Lane { samples: Vec::new(), begun: Instant::now(), weight: 1, passed: 0 };
        Self {
            lanes: std::array::from_fn(|_| Mutex::new(lane())),
            sketch: Mutex::new(Sketch::new(Instant::now())),
            latency: float_gauge_vec(
                "top_module_latency_seconds",
                "Time to answer for the modules asked for most, of which there are at most 20.",
                &["module", "quantile"],
            ),
        }
    }

    /// Notes an answer. Takes no lock that another thread holds for long.
    pub(crate) fn note(&self, module: &ModulePath, took: Duration) {
        let mut lane = self.lanes[lane_index()].lock();
        lane.passed += 1;
        if lane.passed < lane.weight {
            return;
        }
        lane.passed = 0;
        lane.samples.push((module.clone(), took));
        if lane.samples.len() >= KEPT {
            // While somebody reads the sketch this thread does not wait: what it had is not counted.
            match self.sketch.try_lock() {
                Some(mut sketch) => lane.merge_into(&mut sketch, Instant::now()),
                None => lane.samples.clear(),
            }
        }
    }

    /// The modules asked for most, at most `count`, the first most.
    pub(crate) fn hot_modules(&self, count: usize) -> Vec<HotModule> {
        let mut sketch = self.sketch.lock();
        let now = Instant::now();
        for lane in &self.lanes {
            lane.lock().merge_into(&mut sketch, now);
        }
        sketch.hottest(count).into_iter().map(|(module, tracked)| tracked.describe(module)).collect()
    }

    /// How often each module was asked for since this was last called, the most asked ones, at most `count`. For one caller.
    pub(crate) fn take_untold(&self, count: usize) -> Vec<(ModulePath, u64)> {
        let mut sketch = self.sketch.lock();
        let now = Instant::now();
        for lane in &self.lanes {
            lane.lock().merge_into(&mut sketch, now);
        }
        let mut all: Vec<_> = sketch
            .modules
            .iter_mut()
            .map(|(module, tracked)| (module.clone(), std::mem::take(&mut tracked.untold)))
            .filter(|(_, untold)| *untold > 0)
            .collect();
        all.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
        all.truncate(count);
        all
    }

    /// Sets the figures.
    pub(crate) fn export(&self) {
        drop(self.hot_modules(0));
        let sketch = self.sketch.lock();
        self.latency.reset();
        for (module, tracked) in sketch.hottest(EXPORTED) {
            for (quantile, label) in QUANTILES {
                self.latency.with_label_values(&[module.as_str(), label]).set(tracked.latency.quantile(quantile));
            }
        }
    }
}

impl std::fmt::Debug for Popularity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Popularity")
    }
}

impl Lane {
    fn merge_into(&mut self, sketch: &mut Sketch, now: Instant) {
        let full = self.samples.len() >= KEPT;
        sketch.age(now);
        for (module, took) in self.samples.drain(..) {
            sketch.add(&module, u64::from(self.weight), took);
        }
        self.weight = if full && now.duration_since(self.begun) < BUSY * self.weight { SPARSE } else { 1 };
        self.begun = now;
    }
}

struct Sketch {
    modules: HashMap<ModulePath, Tracked>,
    halved: Instant,
}

#[derive(Default)]
struct Tracked {
    count: u64,
    overcount: u64,
    /// Requests that Redis was not told of.
    untold: u64,
    latency: Latency,
}

impl Sketch {
    fn new(now: Instant) -> Self {
        Self { modules: HashMap::with_capacity(TRACKED), halved: now }
    }

    fn add(&mut self, module: &ModulePath, weight: u64, took: Duration) {
        if let Some(tracked) = self.modules.get_mut(module) {
            return tracked.add(weight, took);
        }
        let mut tracked = Tracked::default();
        if self.modules.len() >= TRACKED
            && let Some(least) = self.modules.iter().min_by_key(|(_, tracked)| tracked.count)
        {
            let (least, count) = (least.0.clone(), least.1.count);
            self.modules.remove(&least);
            tracked = Tracked { count, overcount: count, ..tracked };
        }
        tracked.add(weight, took);
        self.modules.insert(module.clone(), tracked);
    }

    /// Halves the counts for every half-life that went by.
    fn age(&mut self, now: Instant) {
        while now.duration_since(self.halved) >= HALF_LIFE && !self.modules.is_empty() {
            self.halved += HALF_LIFE;
            self.modules.retain(|_, tracked| tracked.halve());
        }
        if self.modules.is_empty() {
            self.halved = now;
        }
    }

    fn hottest(&self, count: usize) -> Vec<(&ModulePath, &Tracked)> {
        let mut all: Vec<_> = self.modules.iter().collect();
        // Equals in one order, so that a list that is read twice does not flicker.
        all.sort_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| a.cmp(b)));
        all.truncate(count);
        all
    }
}

impl Tracked {
    fn add(&mut self, weight: u64, took: Duration) {
        self.count += weight;
        self.untold += weight;
        self.latency.add(took);
    }

    fn halve(&mut self) -> bool {
        self.count /= 2;
        self.overcount /= 2;
        self.latency.0.iter_mut().for_each(|count| *count /= 2);
        self.count > 0
    }

    fn describe(&self, module: &ModulePath) -> HotModule {
        HotModule {
            module: module.clone(),
            requests: self.count,
            overcount: self.overcount,
            p50_seconds: self.latency.quantile(0.5),
            p99_seconds: self.latency.quantile(0.99),
        }
    }
}

/// Counts of durations; bucket `i` ends at 2^i × 10 µs, the last one is without end.
#[derive(Default)]
struct Latency([u32; 26]);

impl Latency {
    fn add(&mut self, took: Duration) {
        let tens = took.as_micros() / 10;
        let bucket = usize::try_from(u128::BITS - tens.leading_zeros()).unwrap_or(usize::MAX);
        let count = &mut self.0[bucket.min(25)];
        *count = count.saturating_add(1);
    }

    /// The end, in seconds, of the bucket in which the quantile lies.
    fn quantile(&self, quantile: f64) -> f64 {
        let total: u32 = self.0.iter().sum();
        let mut left = f64::from(total) * quantile;
        for (count, end) in self.0.iter().zip((0..).map(|i| 1e-5 * f64::from(1_u32 << i))) {
            left -= f64::from(*count);
            if left <= 0.0 && total > 0 {
                return end;
            }
        }
        0.0
    }
}

/// This thread's list.
fn lane_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static LANE: usize = NEXT.fetch_add(1, Relaxed) % LANES);
    LANE.with(|lane| *lane)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn module(number: usize) -> ModulePath {
        ModulePath::new(&format!("example.com/m{number}")).unwrap()
    }

    #[test]
    fn the_most_asked_modules_are_found_among_many() {
        let popularity = Popularity::new();
        for round in 0..1000_usize {
            for hot in 0..5 {
                (0..=hot).for_each(|_| popularity.note(&module(hot), Duration::from_millis(3)));
            }
            // Each only once.
            (0..20).for_each(|i| popularity.note(&module(1000 + round * 20 + i), Duration::ZERO));
        }
        let hot = popularity.hot_modules(5);
        let names: Vec<_> = hot.iter().map(|hot| hot.module.clone()).collect();
        assert_eq!(names, [4, 3, 2, 1, 0].map(module));
        for (hot, rounds) in hot.iter().zip([5, 4, 3, 2, 1]) {
            let sure = hot.requests - hot.overcount;
            assert!(sure <= rounds * 1000 + 8 && hot.requests * 10 >= rounds * 9000, "{hot:?}");
            assert!((0.003..0.006).contains(&hot.p50_seconds), "{hot:?}");
        }
        assert_eq!(popularity.sketch.lock().modules.len(), TRACKED);
        assert!(popularity.lanes.iter().all(|lane| lane.lock().samples.capacity() <= KEPT));
    }

    #[test]
    fn a_few_requests_are_counted_exactly() {
        let popularity = Popularity::new();
        (0..12).for_each(|_| popularity.note(&module(1), Duration::from_micros(90)));
        popularity.note(&module(2), Duration::from_secs(2));
        let hot = popularity.hot_modules(10);
        assert_eq!(hot.iter().map(|hot| (hot.requests, hot.overcount)).collect::<Vec<_>>(), [(12, 0), (1, 0)]);
        assert!((hot[0].p99_seconds - 0.00016).abs() < 1e-9 && hot[1].p50_seconds >= 2.0, "{hot:?}");
        assert!(popularity.hot_modules(0).is_empty());
    }

    #[test]
    fn counts_halve_and_go() {
        let start = Instant::now();
        let mut sketch = Sketch::new(start);
        (0..4).for_each(|_| sketch.add(&module(1), 1, Duration::ZERO));
        sketch.add(&module(2), 1, Duration::ZERO);
        sketch.age(start + HALF_LIFE / 2);
        assert_eq!(sketch.hottest(9).len(), 2);
        sketch.age(start + HALF_LIFE);
        assert_eq!(sketch.hottest(9)[0].1.count, 2);
        assert_eq!(sketch.hottest(9).len(), 1);
        sketch.age(start + HALF_LIFE * 3);
        assert!(sketch.hottest(9).is_empty());
    }

    proptest! {
        /// The paper's bounds: a count is never too low, too high by its overcount at most, which is at most the whole over the number
        /// of places; and whatever was asked for more often than that is there.
        #[test]
        fn the_sketch_keeps_its_bounds(
            asked in prop::collection::vec((0..4_usize, 0..1000_usize, 1..4_u64), 1..3000)
        ) {
            let mut sketch = Sketch::new(Instant::now());
            let mut truth: HashMap<ModulePath, u64> = HashMap::new();
            let mut total = 0;
            for (skew, number, weight) in asked {
                // A few modules of many are asked for most.
                let module = module(number >> (skew * 3));
                sketch.add(&module, weight, Duration::ZERO);
                *truth.entry(module).or_default() += weight;
                total += weight;
            }
            let bound = total / TRACKED as u64;
            prop_assert!(sketch.modules.len() <= TRACKED);
            for (module, tracked) in &sketch.modules {
                let count = truth[module];
                prop_assert!(tracked.count >= count && tracked.count - tracked.overcount <= count, "{module}: {count}");
                prop_assert!(tracked.overcount <= bound, "{module}: {} > {bound}", tracked.overcount);
            }
            for (module, count) in truth {
                prop_assert!(count <= bound || sketch.modules.contains_key(&module), "{module} was lost");
            }
        }
    }

    #[test]
    fn what_is_told_is_told_once() {
        let popularity = Popularity::new();
        (0..3).for_each(|_| popularity.note(&module(7001), Duration::ZERO));
        popularity.note(&module(7002), Duration::ZERO);
        assert_eq!(popularity.take_untold(9), [(module(7001), 3), (module(7002), 1)]);
        popularity.note(&module(7002), Duration::ZERO);
        assert_eq!(popularity.take_untold(9), [(module(7002), 1)]);
        assert_eq!(popularity.hot_modules(9).iter().map(|hot| hot.requests).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn no_more_than_twenty_modules_are_exported() {
        let popularity = Popularity::new();
        (0..60).for_each(|number| popularity.note(&module(5000 + number), Duration::from_millis(1)));
        popularity.export();
        let text = shared::telemetry::render();
        let lines = text.lines().filter(|line| line.starts_with("modtier_top_module_latency_seconds{")).count();
        assert!(lines > 0 && lines <= EXPORTED * QUANTILES.len(), "{lines}");
    }
}
