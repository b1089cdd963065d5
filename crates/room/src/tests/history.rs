//! Who may read what was said, and what is not read any more.

use super::check;

#[test]
fn members_read_and_nobody_else() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1?", "read #2"),
        ("A2?", "A #3 NotAMember"),
        ("B1?", "B #4 NotAMember"),
    ]);
}

#[test]
fn what_was_taken_away_is_not_told_again() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi#c", ""),
        ("A1!ho", ""),
        ("store", "A #2 stored 2 | A 2<1 ann: hi | A #3 stored 3 | A 3<2 ann: ho"),
        ("redact 2", "A 2 redacted"),
        // It is still known.
        ("A1!hi#c", "A #6 stored 2"),
        ("A1!he#c", "A #7 CmidConflict"),
        ("A fetch @1", "sent 2- 3"),
        ("B1+bob@1", "B #9 in:2 @3 [ann bob] new Complete missed 2- 3 | A +bob | B +bob(1)"),
        // Taken away before it was told of.
        ("A1!psst", ""),
        ("append", "after 3: psst"),
        ("redact 4", "A 4 redacted | B 4 redacted"),
        ("stored", "A #10 stored 4 | A 4<3 ann: redacted | B 4<3 ann: redacted"),
        // Long gone.
        ("redact 1", "A 1 redacted | B 1 redacted"),
        ("redact 7", "A 7 redacted | B 7 redacted"),
    ]);
}
