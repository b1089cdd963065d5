//! The search in small: `make model` does it at large.

use interleavings::{Guard, Scenario, explore};

#[test]
fn with_all_guards_no_rule_is_broken() {
    let found = explore(Scenario::small(), None, 2);
    assert!(found.broken.is_none(), "{:#?}", found.broken);
    assert!(found.succeeds, "nobody gets through in {} states", found.states);
    assert!(found.states > 1000, "{} states are not many", found.states);
}

/// The rule that is broken without `guard`; 0 for what no rule speaks of.
#[track_caller]
fn check(guard: Guard, rule: u8) {
    let found = explore(Scenario::that_needs(guard), Some(guard), 1);
    let broken = found.broken.map(|broken| broken.rule);
    assert_eq!(broken, Some(rule), "without \u{201c}{}\u{201d}", guard.what());
}

#[test]
fn all_guards_are_tried_here() {
    let tests = include_str!("guards.rs");
    for guard in Guard::ALL {
        assert!(tests.contains(&format!("check(Guard::{guard:?}, ")), "{guard:?} is not");
    }
}

#[test]
fn racing_claims_of_a_new_room_need_their_guards() {
    check(Guard::NewRoomsAreRead, 2);
    check(Guard::ClaimsAreRepeated, 13);
}

#[test]
fn retention_frees_no_number_and_forgets_no_cmid_too_early() {
    check(Guard::NewestRowStays, 2);
    check(Guard::YoungRowsStay, 5);
}

#[test]
fn who_was_superseded_appends_nothing() {
    check(Guard::RestFollowsFirst, 6);
    check(Guard::RowBefore, 6);
    check(Guard::FenceIsTheLog, 6);
}

#[test]
fn a_store_that_was_set_back_goes_on_in_a_new_epoch() {
    check(Guard::EpochIsChecked, 6);
    check(Guard::NewEpochAfterRestore, 2);
}

#[test]
fn what_is_said_twice_is_stored_once() {
    check(Guard::OneEntryPerCmid, 5);
    check(Guard::OneCmidPerAppend, 5);
}

#[test]
fn nothing_is_said_that_the_store_does_not_say() {
    check(Guard::UnknownIsNotFailed, 13);
    check(Guard::StoredComesFirst, 3);
    check(Guard::HeadIsReadFirst, 9);
}

#[test]
fn what_was_under_way_is_said_and_answered_in_order() {
    check(Guard::RepeatsAreInOrder, 15);
    check(Guard::LastLinkCounts, 0);
}

#[test]
fn whose_refusal_was_lost_is_not_stored_behind_what_came_later() {
    check(Guard::OvertakenIsRefused, 15);
    check(Guard::RejoinsWait, 15);
    check(Guard::EnterComesFirst, 15);
}
