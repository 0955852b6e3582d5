//! Every transition, over time that is passed in.

use super::*;

const S: Duration = Duration::from_secs(1);
const CALL: Call = Call { trial: false, slow: false };
const TRIAL: Call = Call { trial: true, slow: false };

fn closed() -> (Breaker, Instant) {
    (Breaker::new(BreakerSettings::default()), Instant::now())
}

/// One that five failures have just opened.
fn opened() -> (Breaker, Instant) {
    let (mut breaker, now) = closed();
    (0..5).for_each(|_| breaker.judge(now, CALL, Verdict::Bad, 0.0));
    assert_eq!(breaker.phase(now), Phase::Open(now + 30 * S));
    (breaker, now)
}

#[test]
fn five_failures_in_a_row_open_it_and_four_do_not() {
    let (mut breaker, now) = closed();
    for _ in 0..3 {
        (0..4).for_each(|_| breaker.judge(now, CALL, Verdict::Bad, 0.0));
        assert_eq!(breaker.admission(now), Admission::Open);
        breaker.judge(now, CALL, Verdict::Good, 0.0);
    }
    (0..5).for_each(|_| breaker.judge(now, CALL, Verdict::Bad, 0.0));
    assert_eq!(breaker.admission(now), Admission::Refused(now + 30 * S));
    assert_eq!(breaker.admit(now), None);
}

#[test]
fn half_of_twenty_within_ten_seconds_open_it() {
    let (mut breaker, now) = closed();
    for number in 0..19 {
        let verdict = if number % 2 == 0 { Verdict::Bad } else { Verdict::Good };
        breaker.judge(now, CALL, verdict, 0.0);
        assert_eq!(breaker.phase(now), Phase::Closed, "{number}");
    }
    breaker.judge(now, CALL, Verdict::Good, 0.0);
    assert!(matches!(breaker.phase(now), Phase::Open(_)));
}

#[test]
fn failures_of_more_than_ten_seconds_ago_do_not_count() {
    let (mut breaker, now) = closed();
    for number in 0..18 {
        breaker.judge(now, CALL, if number % 2 == 0 { Verdict::Bad } else { Verdict::Good }, 0.0);
    }
    let later = now + 11 * S;
    for number in 0..18 {
        breaker.judge(later, CALL, if number % 2 == 0 { Verdict::Bad } else { Verdict::Good }, 0.0);
    }
    assert_eq!(breaker.phase(later), Phase::Closed);
}

#[test]
fn slow_answers_open_it_by_their_rate_but_never_in_a_row() {
    let (mut breaker, now) = closed();
    for _ in 0..19 {
        breaker.slow(now, 0.0);
        // Its answer, when it comes, is not counted again.
        breaker.judge(now, Call { trial: false, slow: true }, Verdict::Good, 0.0);
    }
    assert_eq!(breaker.phase(now), Phase::Closed);
    breaker.slow(now, 0.0);
    assert!(matches!(breaker.phase(now), Phase::Open(_)));
}

#[test]
fn after_its_time_one_request_is_tried_and_closes_it() {
    let (mut breaker, now) = opened();
    assert_eq!(breaker.admit(now + 29 * S), None);
    let later = now + 30 * S;
    assert_eq!(breaker.phase(later), Phase::HalfOpen);
    assert_eq!(breaker.admit(later), Some(true));
    assert_eq!(breaker.admit(later), None, "one only");
    assert!(breaker.is_tried(later));
    breaker.judge(later, CALL, Verdict::Good, 0.0);
    assert_eq!(breaker.phase(later), Phase::HalfOpen, "what began before says nothing");
    breaker.judge(later, TRIAL, Verdict::Good, 0.0);
    assert_eq!(breaker.admit(later), Some(false));
    (0..4).for_each(|_| breaker.judge(later, CALL, Verdict::Bad, 0.0));
    assert_eq!(breaker.phase(later), Phase::Closed, "it begins to count anew");
}

#[test]
fn each_failed_trial_doubles_the_time_up_to_five_minutes_and_success_resets_it() {
    let (mut breaker, mut now) = opened();
    for seconds in [30, 60, 120, 240, 300, 300] {
        let Phase::Open(until) = breaker.phase(now) else { panic!("open") };
        assert_eq!(until, now + seconds * S);
        now = until;
        assert_eq!(breaker.admit(now), Some(true));
        breaker.judge(now, TRIAL, Verdict::Bad, 0.0);
    }
    let Phase::Open(until) = breaker.phase(now) else { panic!("open") };
    assert_eq!(breaker.admit(until), Some(true));
    breaker.judge(until, TRIAL, Verdict::Good, 0.0);
    (0..5).for_each(|_| breaker.judge(until, CALL, Verdict::Bad, 0.0));
    assert_eq!(breaker.phase(until), Phase::Open(until + 30 * S));
}

#[test]
fn jitter_moves_the_end_by_a_tenth() {
    for (jitter, seconds) in [(-1.0, 27), (1.0, 33), (9.0, 33)] {
        let (mut breaker, now) = closed();
        (0..5).for_each(|_| breaker.judge(now, CALL, Verdict::Bad, jitter));
        let Phase::Open(until) = breaker.phase(now) else { panic!("open") };
        assert_eq!((until - now).as_millis(), seconds * 1000);
    }
}

#[test]
fn failures_that_began_before_it_opened_do_not_prolong_it() {
    let (mut breaker, now) = opened();
    (0..10).for_each(|_| breaker.judge(now + S, CALL, Verdict::Bad, 0.0));
    breaker.slow(now + S, 0.0);
    breaker.judge(now + S, CALL, Verdict::Good, 0.0);
    assert_eq!(breaker.phase(now + S), Phase::Open(now + 30 * S));
}

#[test]
fn a_trial_that_goes_away_or_never_ends_lets_another_one_pass() {
    let (mut breaker, now) = opened();
    let later = now + 30 * S;
    assert_eq!(breaker.admit(later), Some(true));
    breaker.release();
    assert!(!breaker.is_tried(later));
    assert_eq!(breaker.admit(later), Some(true));
    assert_eq!(breaker.admission(later + 29 * S), Admission::Refused(later + 30 * S));
    assert_eq!(breaker.admit(later + 30 * S), Some(true));
}

#[test]
fn probes_that_come_back_end_the_wait() {
    let (mut breaker, now) = opened();
    breaker.probes_came_back();
    assert_eq!(breaker.admit(now + S), Some(true));
    breaker.judge(now + S, TRIAL, Verdict::Bad, 0.0);
    assert_eq!(breaker.phase(now + S), Phase::Open(now + 61 * S), "the trial decides all the same");
    let (mut breaker, now) = closed();
    breaker.probes_came_back();
    assert_eq!(breaker.admission(now), Admission::Open);
}

#[test]
fn too_many_requests_pause_it_without_opening() {
    let (mut breaker, now) = closed();
    breaker.cool(now, 7 * S);
    assert_eq!(breaker.admission(now + 6 * S), Admission::Refused(now + 7 * S));
    assert_eq!(breaker.phase(now), Phase::Closed);
    assert_eq!(breaker.cooling(now), Some(now + 7 * S));
    assert_eq!(breaker.admission(now + 7 * S), Admission::Open);
    breaker.cool(now, 86_400 * S);
    assert_eq!(breaker.admission(now + 300 * S), Admission::Open, "never longer than it could be open");
}

#[test]
fn an_operators_word_has_an_end() {
    let (mut breaker, now) = closed();
    breaker.force(true, now + 60 * S);
    assert_eq!(breaker.admission(now + 59 * S), Admission::Refused(now + 60 * S));
    assert_eq!(breaker.phase(now), Phase::Open(now + 60 * S));
    assert_eq!(breaker.admission(now + 60 * S), Admission::Open);
    breaker.force(false, now + 60 * S);
    (0..9).for_each(|_| breaker.judge(now, CALL, Verdict::Bad, 0.0));
    assert_eq!(breaker.admission(now + S), Admission::Open);
    breaker.unforce();
    assert!(matches!(breaker.admission(now + S), Admission::Refused(_)), "what was counted meanwhile holds");
}
