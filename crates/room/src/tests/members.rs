//! Who is in, under which name, and who is told.

use super::check;

#[test]
fn a_joiner_is_answered_first_and_not_told_of_itself() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A2+cat", "A #3 in:3 @1 [ann cat bob] new | A +cat(2) | B +cat"),
    ]);
}

#[test]
fn the_roster_is_grouped_by_connector_in_the_order_of_coming() {
    check(&[
        ("B1+bob", "B #1 in:1 @1 [bob] new | B +bob(1)"),
        ("A1+ann", "A #2 in:2 @1 [bob ann] new | A +ann(1) | B +ann"),
        ("B2+cat", "B #3 in:3 @1 [bob cat ann] new | A +cat | B +cat(2)"),
        // A group that has emptied starts again at the end.
        ("B1-", "B #4 gone | A -bob | B -bob"),
        ("B2-", "B #5 gone | A -cat"),
        ("B3+bob", "B #6 in:4 @1 [ann bob] new | A +bob | B +bob(3)"),
    ]);
}

#[test]
fn a_name_is_one_members() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A2+ann", "A #2 NameTaken"),
        ("B1+ann", "B #3 NameTaken"),
        ("B1+ann=key", "B #4 NameTaken"),
        ("A1-", "A #5 gone"),
        ("B1+ann", "B #6 in:2 @1 [ann] new | B +ann(1)"),
    ]);
}

#[test]
fn a_repeated_join_is_answered_alike_and_announces_nothing() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi", ""),
        ("store", "A #2 stored 2 | A 2<1 ann: hi"),
        ("A1+ann", "A #4 in:1 @2 [ann]"),
    ]);
}

#[test]
fn a_session_goes_by_one_name() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1+bob", "A #3 NameTaken"),
        ("A1+cat", "A #4 in:3 @1 [bob cat] new | A -ann | B -ann | A +cat(1) | B +cat"),
        ("A1-", "A #5 gone | B -cat"),
    ]);
}

#[test]
fn the_room_has_a_limit() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A2+bob", "A #2 in:2 @1 [ann bob] new | A +bob(2)"),
        ("A3+cat", "A #3 in:3 @1 [ann bob cat] new | A +cat(3)"),
        ("add bot", "call #4 stored 1 | A +bot"),
        ("A4+dan", "A #5 RoomFull"),
        ("add dan", "call #6 RoomFull"),
        ("A4+ann", "A #7 NameTaken"),
        ("A3-", "A #8 gone | A -cat"),
        ("A4+dan", "A #9 in:5 @1 [ann bob dan bot] new | A +dan(4)"),
    ]);
}

#[test]
fn leaving_twice_is_leaving() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B1-", "B #3 gone | A -bob"),
        ("B1-", "B #4 gone"),
        ("B7-", "B #5 gone"),
    ]);
}

#[test]
fn a_proven_successor_takes_the_place_and_the_predecessor_is_closed() {
    check(&[
        ("A1+ann=key", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        // Nobody is told: the name stays.
        ("B2+ann=key", "A close 1: superseded: logged in elsewhere | B #3 in:3 @1 [bob ann]"),
        ("A1!hi", "A #4 NotAMember"),
        ("B2!hi", ""),
        ("store", "B #5 stored 2 | B 2<1 ann: hi"),
        // Another secret is somebody else's.
        ("A1+ann=yek", "A #7 NameTaken"),
        ("A1+ann", "A #8 NameTaken"),
    ]);
}

#[test]
fn a_successor_may_come_over_the_same_link() {
    check(&[
        ("A1+ann=key", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A2+ann=key", "A close 1: superseded: logged in elsewhere | A #2 in:2 @1 [ann]"),
        ("A3+bob", "A #3 in:3 @1 [ann bob] new | A +bob(3)"),
        ("A4+ann=key", "A close 2: superseded: logged in elsewhere | A #4 in:4 @1 [ann bob]"),
    ]);
}

#[test]
fn what_the_predecessor_had_under_way_is_answered() {
    check(&[
        ("A1+ann=key", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi", ""),
        ("B1+ann=key", "A close 1: superseded: logged in elsewhere | B #3 in:2 @1 [ann]"),
        ("store", "A #2 stored 2 | B 2<1 ann: hi"),
    ]);
}

#[test]
fn a_lost_links_members_leave_once_when_their_grace_is_over() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B2+cat=key", "B #3 in:3 @1 [ann bob cat] new | A +cat | B +cat(2)"),
        ("tick 7", ""),
        ("B lost", ""),
        ("tick 99", ""),
        ("tick 1", "A -bob | A -cat"),
        ("tick 1000", ""),
    ]);
}

#[test]
fn a_name_in_grace_is_free_unless_its_holder_can_prove_to_be_it() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B2+cat=key", "B #3 in:3 @1 [ann bob cat] new | A +cat | B +cat(2)"),
        ("B lost", ""),
        ("A2+bob", "A #5 in:4 @1 [ann bob cat]"),
        ("A3+cat", "A #6 NameTaken"),
        ("A3+cat=yek", "A #7 NameTaken"),
        ("A3+cat=key", "A #8 in:5 @1 [ann bob cat]"),
        ("tick 1000", ""),
    ]);
}

#[test]
fn nothing_is_said_to_a_lost_link() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1>bob!psst", ""),
        ("A1!hi", ""),
        ("B lost", ""),
        ("store", "A #3 stored 2 | A #4 stored 3 | A 3<1 ann: hi"),
        ("kick bob", "A -bob"),
    ]);
}

#[test]
fn a_kick_closes_the_session_and_tells_the_others() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A2+bob", "A #2 in:2 @1 [ann bob] new | A +bob(2)"),
        ("B1+cat", "B #3 in:3 @1 [ann bob cat] new | A +cat | B +cat(1)"),
        ("kick bob", "A close 2: kick | A -bob | B -bob"),
        ("kick ann", "A close 1: kick | B -ann"),
        ("kick ann", ""),
        ("A1!hi", "A #7 NotAMember"),
    ]);
}

#[test]
fn a_back_end_adds_a_name_until_it_is_kicked() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("add bot", "call #2 stored 1 | A +bot"),
        ("add bot", "call #3 NameTaken"),
        ("add ann", "call #4 NameTaken"),
        ("B1+bot", "B #5 NameTaken"),
        ("A1>bot!psst", ""),
        ("store", "A #6 stored 2"),
        ("tick 1000", ""),
        ("kick bot", "A -bot"),
    ]);
}

#[test]
fn who_is_sent_away_comes_back_in_silence_or_leaves_when_the_grace_is_over() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B2+cat=key", "B #3 in:3 @1 [ann bob cat] new | A +cat | B +cat(2)"),
        ("B3+dan", "B #4 in:4 @1 [ann bob cat dan] new | A +dan | B +dan(3)"),
        ("B1~", "B #5 gone"),
        ("B2~", "B #6 gone"),
        // Once more, and one who is not in.
        ("B2~", "B #7 gone"),
        ("B9~", "B #8 gone"),
        ("A1!hi", ""),
        ("store", "A #9 stored 2 | A 2<1 ann: hi | B 2<1 ann: hi"),
        ("A2+cat", "A #11 NameTaken"),
        ("A2+cat=key", "A #12 in:5 @2 [ann cat bob dan]"),
        // Its connector loses its link meanwhile, and does not bring it again.
        ("B lost", ""),
        ("B' rejoin @2 3+dan:4", "B' #14 Complete @2 [ann cat bob dan] 3:4"),
        ("tick 99", ""),
        ("tick 1", "A -bob | B' -bob"),
        ("tick 1000", ""),
    ]);
}
