//! The mixed run with random faults: twenty seconds here, five minutes in `make soak` (`MODTIER_SOAK_SECONDS`, `MODTIER_SEED`).

use std::time::Duration;

use modtier_tests::{Seed, soak};

#[tokio::test(flavor = "multi_thread")]
async fn no_wrong_body_and_no_growth_under_random_faults() {
    let seconds = std::env::var("MODTIER_SOAK_SECONDS").map_or(20, |text| text.parse().expect("a number of seconds"));
    soak::run(Duration::from_secs(seconds), Seed::number("soak")).await;
}
