//! What is said, when it is answered, and who hears it.

use super::{LIMITS, Stage, check, render};
use crate::{Input, Limits};

#[test]
fn nothing_is_answered_or_pushed_before_it_is_stored() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A2+bob", "A #2 in:2 @1 [ann bob] new | A +bob(2)"),
        ("B1+cat", "B #3 in:3 @1 [ann bob cat] new | A +cat | B +cat(1)"),
        ("A1!hi", ""),
        ("append", "after 1: hi"),
        // Once to each link, however many members are behind it; the reply first.
        ("stored", "A #4 stored 2 | A 2<1 ann: hi | B 2<1 ann: hi"),
    ]);
}

#[test]
fn one_append_is_in_flight_and_the_rest_follows_as_one() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("append", "nothing"),
        ("A1!one", ""),
        ("append", "after 1: one"),
        ("A1!two", ""),
        ("A1!three", ""),
        ("append", "nothing"),
        ("stored", "A #3 stored 2 | A 2<1 ann: one"),
        ("append", "after 2: two three"),
        ("stored", "A #5 stored 3 | A 3<2 ann: two | A #6 stored 4 | A 4<3 ann: three"),
        ("append", "nothing"),
    ]);
}

#[test]
fn only_members_speak() {
    check(&[
        ("A1!hi", "A #1 NotAMember"),
        ("A1+ann", "A #2 in:1 @1 [ann] new | A +ann(1)"),
        ("A2!hi", "A #3 NotAMember"),
        ("B1!hi", "B #4 NotAMember"),
        ("A1-", "A #5 gone"),
        ("A1!hi", "A #6 NotAMember"),
    ]);
}

#[test]
fn who_has_left_is_still_answered() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1!bye", ""),
        ("A1-", "A #4 gone | B -ann"),
        ("store", "A #3 stored 2 | B 2<1 ann: bye"),
    ]);
}

#[test]
fn a_whisper_goes_to_one_and_breaks_nobodys_chain() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("C1+cat", "C #3 in:3 @1 [ann bob cat] new | A +cat | B +cat | C +cat(1)"),
        ("A1>bob!psst", ""),
        ("store", "A #4 stored 2 | B 2<1 ann>bob: psst"),
        ("A1!hi", ""),
        ("store", "A #6 stored 3 | A 3<1 ann: hi | B 3<2 ann: hi | C 3<1 ann: hi"),
        ("A1>ann!note", ""),
        ("store", "A #8 stored 4 | A 4<3 ann>ann: note"),
    ]);
}

#[test]
fn a_link_that_comes_later_starts_at_the_head() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1>bob!psst", ""),
        ("store", "A #3 stored 2 | B 2<1 ann>bob: psst"),
        // The room is at 2; what A has been sent ends at 1.
        ("A2+cat", "A #5 in:3 @1-2 [ann cat bob] new | A +cat(2) | B +cat"),
        ("C1+dan", "C #6 in:4 @2 [ann cat bob dan] new | A +dan | B +dan | C +dan(1)"),
        ("B1!hi", ""),
        ("store", "B #7 stored 3 | A 3<1 bob: hi | B 3<2 bob: hi | C 3<2 bob: hi"),
    ]);
}

#[test]
fn nobody_whispers_to_nobody() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1>bob!psst", "seek #2"),
        ("append", "nothing"),
        ("found -", "A #2 NoSuchTarget"),
    ]);
}

#[test]
fn a_whisper_is_for_the_person_and_not_for_the_name() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1>bob!psst", ""),
        ("B1-", "B #4 gone | A -bob"),
        ("C1+bob", "C #5 in:3 @1 [ann bob] new | A +bob | C +bob(1)"),
        ("store", "A #3 stored 2"),
        ("C1!hi", ""),
        ("store", "C #7 stored 3 | A 3<1 bob: hi | C 3<1 bob: hi"),
    ]);
}

#[test]
fn a_whisper_follows_the_person_to_another_link() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob=key", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1>bob!psst", ""),
        ("C1+bob=key", "B close 1: superseded: logged in elsewhere | C #4 in:3 @1 [ann bob]"),
        ("store", "A #3 stored 2 | C 2<1 ann>bob: psst"),
    ]);
}

#[test]
fn a_repeated_message_is_stored_once() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        // Twice while it waits, once while it is in flight, once when it is stored.
        ("A1!hi#c", ""),
        ("A1!hi#c", ""),
        ("append", "after 1: hi"),
        ("A1!hi#c", ""),
        ("stored", "A #2 stored 2 | A #3 stored 2 | A #5 stored 2 | A 2<1 ann: hi"),
        ("A1!hi#c", "A #7 stored 2"),
        ("append", "nothing"),
    ]);
}

#[test]
fn a_repeated_cmid_with_another_content_or_target_is_a_conflict() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi#c", ""),
        ("A1!ho#c", ""),
        ("append", "after 1: hi"),
        ("A1>ann!hi#c", ""),
        ("stored", "A #2 stored 2 | A 2<1 ann: hi | A #3 CmidConflict | A #5 CmidConflict"),
        ("A1!ho#c", "A #7 CmidConflict"),
        ("append", "nothing"),
    ]);
}

#[test]
fn of_two_contents_under_one_cmid_the_one_in_the_log_is_right() {
    // What is in line may be the contradiction, and what comes behind it the repetition.
    let said = [
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!ho#c", ""),
        ("A1!hi#c", ""),
        ("append", "after 1: ho"),
        ("A1!hi#c", ""),
    ];
    let ends = |end: &[(&'static str, &'static str)]| check(&[&said, end].concat());
    let found = "A #3 stored 1 | A #5 stored 1 | A #2 CmidConflict";
    ends(&[("dup 0@1", found), ("append", "nothing")]);
    ends(&[("failed", "A #2 Unavailable | A #3 Unavailable | A #5 Unavailable")]);
    ends(&[("fenced", "A #2 Moved | A #3 Moved | A #5 Moved | A moved | closed")]);
}

#[test]
fn a_cmid_is_its_authors() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A2+bob", "A #2 in:2 @1 [ann bob] new | A +bob(2)"),
        ("A1!hi#c", ""),
        ("A2!ho#c", ""),
        ("store", "A #3 stored 2 | A 2<1 ann: hi | A #4 stored 3 | A 3<2 bob: ho"),
    ]);
}

#[test]
fn a_repeated_whisper_is_answered_though_its_target_has_left() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1>bob!psst#c", ""),
        ("store", "A #3 stored 2 | B 2<1 ann>bob: psst"),
        ("B1-", "B #5 gone | A -bob"),
        ("A1>bob!psst#c", "A #6 stored 2"),
    ]);
}

#[test]
fn a_message_that_the_store_had_is_answered_and_the_others_are_tried_again() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!ha", ""),
        ("A1!hi#c", ""),
        ("A1!ho", ""),
        ("append", "after 1: ha hi ho"),
        ("A1!he", ""),
        ("dup 1@1", "A #3 stored 1"),
        ("append", "after 1: ha ho he"),
        ("dup 1@1!", "A #4 CmidConflict"),
        ("store", "A #2 stored 2 | A 2<1 ann: ha | A #6 stored 3 | A 3<2 ann: he"),
    ]);
}

#[test]
fn a_failed_append_is_answered_and_the_next_is_tried() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!one#c", ""),
        ("append", "after 1: one"),
        ("A1!two", ""),
        ("failed", "A #2 Unavailable"),
        ("append", "after 1: two"),
        ("stored", "A #4 stored 2 | A 2<1 ann: two"),
        ("A1!one#c", ""),
        ("store", "A #8 stored 3 | A 3<2 ann: one"),
    ]);
}

#[test]
fn what_waits_has_a_bound() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!one", ""),
        ("append", "after 1: one"),
        // Three may wait beside what is in flight.
        ("A1!two", ""),
        ("A1!three", ""),
        ("A1!four", ""),
        ("A1!five", "A #7 Overloaded"),
        ("stored", "A #2 stored 2 | A 2<1 ann: one"),
        ("append", "after 2: two three four"),
        ("A1!six", ""),
    ]);
}

#[test]
fn what_waits_has_a_bound_in_bytes() {
    let mut stage = Stage::new(Limits { pending_max: 1000, ..LIMITS });
    let mut say = |number, content: &str| {
        let effects = stage.step(number, &format!("bot!{content}"));
        let refused = effects == [format!("call #{number} Overloaded")];
        assert!(refused || effects.is_empty(), "{effects:?}");
        refused
    };
    let megabyte = "x".repeat(1 << 20);
    let refused: Vec<bool> = (1..=10).map(|number| say(number, &megabyte)).collect();
    assert_eq!(refused.iter().filter(|refused| **refused).count(), 2);
    assert!(refused[8] && refused[9]);

    // A big room is not held up: one append has a bound, too, and frees what it takes.
    let mut stage = Stage::new(Limits { pending_max: 1000, ..LIMITS });
    for number in 1..=300 {
        stage.step(number, "bot!hi");
    }
    assert_eq!(stage.take().unwrap().entries.len(), 256);
    stage.step(301, "stored");
    assert_eq!(stage.take().unwrap().entries.len(), 44);
}

#[test]
fn a_back_end_speaks_without_being_a_member() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("bot!hi#c", ""),
        ("bot!hi#c", ""),
        ("store", "call #2 stored 2 | call #3 stored 2 | A 2<1 bot: hi"),
        ("bot!hi#c", "call #5 stored 2"),
        ("bot!ho#c", "call #6 CmidConflict"),
    ]);
}

#[test]
fn a_room_that_nobody_is_in_is_spoken_in_all_the_same() {
    check(&[("bot!hi", ""), ("store", "call #1 stored 2"), ("A1-", "A #3 gone")]);
}

#[test]
fn a_link_is_told_again_what_it_was_sent() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1!hi", ""),
        ("A1>bob!psst", ""),
        (
            "store",
            "A #3 stored 2 | A 2<1 ann: hi | B 2<1 ann: hi | A #4 stored 3 | B 3<2 ann>bob: psst",
        ),
        ("A fetch @1", "sent 2"),
        ("B fetch @1", "sent 2 3"),
        ("B fetch @2", "sent 3"),
        ("B fetch @3", "sent"),
        ("B fetch @1?", "not known"),
        ("C fetch @1", "not known"),
        // In flight or waiting: not sent yet.
        ("A1!ho", ""),
        ("append", "after 3: ho"),
        ("A fetch @2", "sent"),
    ]);
}

#[test]
fn what_a_link_was_not_sent_is_not_told_again() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("bot!hi", ""),
        ("store", "call #2 stored 2 | A 2<1 bot: hi"),
        ("A1>ann!note", ""),
        ("store", "A #4 stored 3 | A 3<2 ann>ann: note"),
        // Neither what was whispered to others.
        ("B1+bob", "B #6 in:2 @3 [ann bob] new | A +bob | B +bob(1)"),
        ("B fetch @1", "sent 2"),
    ]);
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob=key", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1>bob!psst", ""),
        ("store", "A #3 stored 2 | B 2<1 ann>bob: psst"),
        // He had it over the other link.
        ("A2+bob=key", "B close 1: superseded: logged in elsewhere | A #5 in:3 @1-2 [ann bob]"),
        ("A fetch @1", "sent"),
    ]);
}

#[test]
fn the_ring_forgets_the_oldest() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!one#c", ""),
        ("A1!two", ""),
        ("A1!three", ""),
        (
            "store",
            "A #2 stored 2 | A 2<1 ann: one | A #3 stored 3 | A 3<2 ann: two | A #4 stored 4 | A 4<3 ann: three",
        ),
        ("A fetch @1", "sent 2 3 4"),
        ("A1!four", ""),
        ("store", "A #7 stored 5 | A 5<4 ann: four"),
        ("A fetch @1", "not known"),
        ("A fetch @2", "sent 3 4 5"),
        // With the entry its cmid is forgotten; now the store has to notice it.
        ("A1!one#c", ""),
        ("append", "after 5: one"),
    ]);
}

#[test]
fn the_ring_has_a_bound_in_bytes() {
    let mut stage = Stage::new(Limits { ring_max: 1000, ..LIMITS });
    stage.step(1, "A1+ann");
    for number in 0..10 {
        let content = "x".repeat(1 << 20);
        stage.step(2 + 2 * number, &format!("bot!{content}"));
        stage.step(3 + 2 * number, "store");
    }
    assert_eq!(stage.fetch(super::LinkId(0), "@2"), "not known");
    assert_eq!(stage.fetch(super::LinkId(0), "@3"), "sent 4 5 6 7 8 9 10 11");
}

#[test]
fn a_room_is_empty_when_nobody_is_in_and_nothing_waits() {
    let mut stage = Stage::new(LIMITS);
    let mut empty = |number, step| {
        stage.step(number, step);
        stage.room.is_empty()
    };
    assert!(!empty(1, "A1+ann"));
    assert!(empty(2, "A1-"));
    assert!(!empty(3, "bot!hi"));
    assert!(!empty(4, "append"));
    assert!(empty(5, "stored"));
    assert!(!empty(6, "A1+ann"));
    assert!(!empty(7, "A lost"));
    assert!(empty(8, "tick 100"));
}

#[test]
fn time_is_of_interest_while_somebody_is_in_grace() {
    let mut stage = Stage::new(LIMITS);
    let mut wants = |number, step| {
        stage.step(number, step);
        stage.room.wants_tick()
    };
    assert!(!wants(1, "A1+ann"));
    assert!(wants(2, "A lost"));
    assert!(wants(3, "tick 99"));
    assert!(!wants(4, "tick 1"));
}

#[test]
fn a_store_that_is_ahead_changes_nothing_here() {
    // Rendered effects leave out when something was stored; it is the store's time.
    let mut stage = Stage::new(LIMITS);
    stage.step(1, "bot!hi#c");
    stage.take().unwrap();
    let effects = stage.apply(Input::Appended(crate::AppendResult::Stored { at_ms: 77 }));
    assert_eq!(effects.iter().filter_map(render).collect::<Vec<_>>(), ["call #1 stored 2"]);
}
