//! How a room comes to its end here.

use super::{LIMITS, Stage, check, position};

#[test]
fn a_superseded_room_answers_all_that_waits_and_tells_everybody() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1!hi", ""),
        ("bot!hi", ""),
        ("append", "after 1: hi hi"),
        ("B1!ho", ""),
        ("fenced", "A #3 Moved | call #4 Moved | B #6 Moved | A moved | B moved | closed"),
    ]);
}

#[test]
fn an_unknown_outcome_is_not_guessed() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi", ""),
        ("append", "after 1: hi"),
        ("unknown", "A #2 MovedMeanwhile | A moved | closed"),
    ]);
}

#[test]
fn who_hears_of_another_owner_gives_up_at_once() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi", ""),
        ("append", "after 1: hi"),
        ("A1!ho", ""),
        ("superseded", "A #2 MovedMeanwhile | A #4 Moved | A moved | closed"),
    ]);
}

#[test]
fn an_idle_room_is_released_at_once() {
    check(&[("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"), ("release", "A moved | closed")]);
}

#[test]
fn a_release_waits_for_what_is_in_flight() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi#c", ""),
        ("append", "after 1: hi"),
        ("A1!ho", ""),
        ("release", "A #4 Moved"),
        // Nothing new is begun; what is under way is still told of.
        ("A1!he", "A #6 Moved"),
        ("A2+bob", "A #7 Moved"),
        ("B rejoin @1 1+cat:1", "B #8 Moved"),
        ("add bot", "call #9 Moved"),
        ("A1!hi#c", ""),
        ("A1!ha#c", ""),
        ("append", "nothing"),
        (
            "stored",
            "A #2 stored 2 | A #10 stored 2 | A 2<1 ann: hi | A #11 CmidConflict | A moved | closed",
        ),
    ]);
}

#[test]
fn a_release_ends_with_any_end_of_the_append() {
    for (end, told) in [
        ("failed", "A #2 Unavailable | A moved | closed"),
        ("unknown", "A #2 MovedMeanwhile | A moved | closed"),
        ("fenced", "A #2 Moved | A moved | closed"),
        ("dup 0@1", "A #2 stored 1 | A moved | closed"),
    ] {
        check(&[
            ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
            ("A1!hi", ""),
            ("append", "after 1: hi"),
            ("release", ""),
            (end, told),
        ]);
    }
}

#[test]
fn what_was_to_be_tried_again_moves_with_the_room() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi", ""),
        ("A1!ho", ""),
        ("append", "after 1: hi ho"),
        ("release", ""),
        ("dup 0@1", "A #2 stored 1 | A #3 Moved | A moved | closed"),
    ]);
}

#[test]
fn a_room_knows_what_it_remembers() {
    let mut stage = Stage::new(LIMITS);
    let remembers = |stage: &Stage, mark| stage.room.remembers(position(mark));
    assert!(remembers(&stage, "@1") && !remembers(&stage, "@0"));
    for number in 0..4 {
        stage.step(2 * number + 1, "bot!hi");
        stage.step(2 * number + 2, "store");
    }
    // The ring has 3, 4 and 5.
    assert!(remembers(&stage, "@2") && !remembers(&stage, "@1"));
    // These are decided without the log: they are reset.
    assert!(remembers(&stage, "@6") && remembers(&stage, "@1?"));
    assert!(stage.room.joins(super::Seq(2)) && !stage.room.joins(super::Seq(1)));
}
