//! The choice as a function of what is known.

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

fn standing(center: usize, ms: u64) -> Standing {
    Standing {
        center,
        admission: Admission::Open,
        estimate: Some(Duration::from_millis(ms)),
        in_flight: 0,
        success: 1.0,
        weight: 1.0,
        probe_lost: false,
        rank: 0,
    }
}

fn refused(center: usize) -> Standing {
    Standing { admission: Admission::Refused(Instant::now()), ..standing(center, 1) }
}

fn first(candidates: &[Standing], current: Option<usize>) -> (Option<usize>, Why) {
    let choice = choose(candidates, current, 0.1);
    (choice.order.first().copied(), choice.why)
}

#[test]
fn the_cheapest_is_first_and_the_others_follow() {
    let choice = choose(&[standing(0, 100), standing(1, 20), standing(2, 50)], None, 0.1);
    assert_eq!((choice.order, choice.why), (vec![1, 2, 0], Why::Cheapest));
    assert_eq!(choice.costs, vec![(0, 100.0), (1, 20.0), (2, 50.0)]);
}

#[test]
fn load_failures_and_weight_change_the_cost() {
    let busy = Standing { in_flight: 5, ..standing(0, 20) };
    assert_eq!(first(&[busy, standing(1, 100)], None), (Some(1), Why::Cheapest));
    let failing = Standing { success: 0.1, ..standing(0, 20) };
    assert_eq!(first(&[failing, standing(1, 100)], None).0, Some(1));
    let heavy = Standing { weight: 10.0, ..standing(1, 100) };
    assert_eq!(first(&[standing(0, 20), heavy], None).0, Some(1));
}

#[test]
fn equals_do_not_take_turns() {
    let mut current = Some(0);
    for noise in [0, 1, 3, 0, 2, 8, 0, 9] {
        let (chosen, why) = first(&[standing(0, 100 + noise), standing(1, 100)], current);
        assert_eq!(chosen, Some(0), "{noise}");
        assert!(matches!(why, Why::Kept | Why::Cheapest));
        current = chosen;
    }
    assert_eq!(first(&[standing(0, 112), standing(1, 100)], current), (Some(1), Why::Cheapest));
    assert_eq!(first(&[standing(0, 95), standing(1, 100)], Some(1)), (Some(1), Why::Kept));
}

#[test]
fn below_a_millisecond_all_are_equal() {
    let quick = Standing { estimate: Some(Duration::from_micros(50)), ..standing(1, 0) };
    let slower = Standing { estimate: Some(Duration::from_micros(900)), ..standing(0, 0) };
    assert_eq!(first(&[slower, quick], Some(0)).0, Some(0));
}

#[test]
fn the_unknown_are_tried_when_the_best_is_busy() {
    let unknown = Standing { estimate: None, ..standing(1, 0) };
    assert_eq!(first(&[standing(0, 20), unknown], Some(0)).0, Some(0));
    assert_eq!(first(&[Standing { in_flight: 1, ..standing(0, 20) }, unknown], Some(0)).0, Some(1));
    let nothing = [Standing { center: 0, ..unknown }, Standing { weight: 2.0, ..unknown }];
    assert_eq!(first(&nothing, None).0, Some(1), "only the weight is known");
}

#[test]
fn rank_comes_before_cost_and_others_stay_as_a_resort() {
    let candidates = [Standing { rank: 1, ..standing(0, 1) }, standing(1, 500)];
    let choice = choose(&candidates, Some(0), 0.1);
    assert_eq!((choice.order, choice.why), (vec![1, 0], Why::Ranked));
}

#[test]
fn a_trial_is_first_when_its_probes_are_answered_and_last_when_not() {
    let trial = Standing { admission: Admission::Trial, ..standing(0, 900) };
    assert_eq!(first(&[trial, standing(1, 20)], Some(1)), (Some(0), Why::Trial));
    let deaf = Standing { probe_lost: true, ..trial };
    let choice = choose(&[deaf, standing(1, 20)], Some(1), 0.1);
    assert_eq!((choice.order, choice.why), (vec![1, 0], Why::Only));
    assert_eq!(first(&[deaf, refused(1)], Some(1)), (Some(0), Why::Trial));
}

#[test]
fn when_none_may_be_asked_none_is_chosen() {
    assert_eq!(first(&[refused(0), refused(1)], Some(0)), (None, Why::NoneLeft));
    assert_eq!(first(&[], None), (None, Why::NoneLeft));
}

fn any_standing() -> impl Strategy<Value = Standing> {
    let admission = prop_oneof![
        Just(Admission::Open),
        Just(Admission::Trial),
        Just(()).prop_map(|()| Admission::Refused(Instant::now()))
    ];
    let estimate = prop::option::of(0_u64..6000).prop_map(|ms| ms.map(Duration::from_millis));
    (admission, estimate, 0_usize..300, 0.01_f64..=1.0, 0.1_f64..=10.0, any::<bool>(), 0_u8..4).prop_map(
        |(admission, estimate, in_flight, success, weight, probe_lost, rank)| Standing {
            center: 0,
            admission,
            estimate,
            in_flight,
            success,
            weight,
            probe_lost,
            rank,
        },
    )
}

proptest! {
    #[test]
    fn an_open_breaker_is_never_chosen_and_every_other_one_once(
        mut candidates in prop::collection::vec(any_standing(), 0..6),
        current in prop::option::of(0_usize..6),
    ) {
        candidates.iter_mut().enumerate().for_each(|(number, standing)| standing.center = number);
        let choice = choose(&candidates, current, 0.1);
        let mut chosen = choice.order.clone();
        chosen.sort_unstable();
        let may: Vec<usize> = candidates
            .iter()
            .filter(|standing| !matches!(standing.admission, Admission::Refused(_)))
            .map(|standing| standing.center)
            .collect();
        prop_assert_eq!(&chosen, &may);
        prop_assert_eq!(choice.why == Why::NoneLeft, may.is_empty());
        // Who is kept costs at most a tenth more than the cheapest of its rank.
        if choice.why == Why::Kept {
            let cost = |center: usize| choice.costs[center].1;
            let (first, rank) = (choice.order[0], candidates[choice.order[0]].rank);
            let open = candidates.iter().filter(|s| s.admission == Admission::Open && s.rank == rank);
            for other in open {
                prop_assert!(cost(other.center) > cost(first) * 0.9);
            }
        }
    }
}
