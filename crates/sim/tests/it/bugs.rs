//! A store with a bug is found out: the checks can fail.

use sim::{Bug, Plan, SharedLog, chaos, judge};

use crate::durable::{until_calm, with_repeats_of_taken, with_retention, with_two_owners};

/// Seeds by which a bug has to be found.
const SEEDS: u64 = 8;

/// A store with the bug breaks one of these rules before long.
#[track_caller]
fn is_found(bug: Bug, rules: &[u8], plan: impl Fn(u64) -> Plan) {
    let is_broken = |seed: u64| {
        let mut plan = plan(seed);
        plan.shared = Some(SharedLog { bug: Some(bug) });
        judge(&plan.run()).broken().iter().any(|rule| rules.contains(rule))
    };
    assert!((0..SEEDS).any(is_broken), "{bug:?} is not found");
}

#[test]
fn a_store_that_forgets() {
    is_found(Bug::Forgets, &[3], chaos);
}

#[test]
fn a_store_that_stores_half() {
    is_found(Bug::StoresHalf, &[3], chaos);
}

#[test]
fn a_store_that_answers_too_early() {
    is_found(Bug::AnswersEarly, &[3, 4], chaos);
}

#[test]
fn a_store_without_a_fence() {
    is_found(Bug::NoFence, &[2, 3], chaos);
}

#[test]
fn a_store_that_knows_no_message_again() {
    is_found(Bug::NoDedup, &[5], chaos);
}

#[test]
fn a_store_that_turns_messages_round() {
    is_found(Bug::Reorders, &[2, 3, 15], chaos);
}

#[test]
fn a_store_whose_pages_have_holes() {
    is_found(Bug::Holes, &[7, 9], chaos);
}

#[test]
fn a_store_that_shows_whispers_to_all() {
    is_found(Bug::Shouts, &[2, 7, 14], chaos);
}

#[test]
fn a_store_that_takes_in_secret() {
    is_found(Bug::HidesTaken, &[7, 9], |seed| until_calm(with_retention(seed)));
}

#[test]
fn a_store_in_which_the_last_writer_wins() {
    is_found(Bug::Overwrites, &[2, 3, 6], chaos);
}

#[test]
fn a_store_that_forgets_cmids_with_what_retention_takes() {
    is_found(Bug::ForgetsTaken, &[5], |seed| until_calm(with_repeats_of_taken(seed)));
}

#[test]
fn an_owner_that_never_looks_whether_it_is_one() {
    is_found(Bug::KeepsOwners, &[7, 8, 9, 11], |seed| until_calm(with_two_owners(seed)));
}
