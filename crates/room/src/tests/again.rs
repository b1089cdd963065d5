//! Messages that are said again when the room remembers them no more.

use super::check;

#[test]
fn a_whisper_that_was_stored_is_answered_though_its_target_has_gone() {
    for (found, told) in [
        ("found 7", "A #3 stored 7"),
        ("found 7!", "A #3 CmidConflict"),
        ("found -", "A #3 NoSuchTarget"),
        ("found ?", "A #3 Unavailable"),
    ] {
        check(&[
            ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
            ("A2>bob!psst", "A #2 NotAMember"),
            ("A1>bob!psst", "seek #3"),
            // Others do not wait for that.
            ("A1!hi", ""),
            ("store", "A #4 stored 2 | A 2<1 ann: hi"),
            (found, told),
        ]);
    }
}

#[test]
fn what_the_room_remembers_is_not_looked_for() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A2+bob", "A #2 in:2 @1 [ann bob] new | A +bob(2)"),
        ("A1>bob!psst#c", ""),
        ("append", "after 1: psst"),
        ("A2-", "A #5 gone | A -bob"),
        ("A1>bob!psst#c", ""),
        ("stored", "A #3 stored 2 | A #6 stored 2"),
        ("A1>bob!psst#c", "A #8 stored 2"),
        ("A1>cat!psst#c", "A #9 CmidConflict"),
    ]);
}
