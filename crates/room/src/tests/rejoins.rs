//! How members come back after a lost link or a move, without noise.

use super::check;

#[test]
fn within_the_grace_a_return_goes_unnoticed_and_brings_what_was_missed() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B lost", ""),
        ("A1!hi", ""),
        ("A1>bob!psst", ""),
        ("store", "A #4 stored 2 | A 2<1 ann: hi | A #5 stored 3"),
        ("B' rejoin @1 1+bob:2", "B' #7 Complete @3 [ann bob] 1:2 missed 2 3"),
        ("tick 1000", ""),
        ("A1!ho", ""),
        ("store", "A #9 stored 4 | A 4<2 ann: ho | B' 4<3 ann: ho"),
    ]);
}

#[test]
fn a_return_may_come_before_the_loss_is_noticed() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B' rejoin @1 1+bob:2", "B' #3 Complete @1 [ann bob] 1:2"),
        ("B lost", ""),
        ("tick 1000", ""),
        ("A1!hi", ""),
        ("store", "A #6 stored 2 | A 2<1 ann: hi | B' 2<1 ann: hi"),
    ]);
}

#[test]
fn what_somebody_said_to_others_meanwhile_is_told_apart() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("A1>bob!psst", ""),
        ("B1>ann!hm", ""),
        ("A1!hi", ""),
        (
            "store",
            "A #3 stored 2 | B 2<1 ann>bob: psst | B #4 stored 3 | A 3<1 bob>ann: hm | A #5 stored 4 | A 4<3 ann: hi | B 4<2 ann: hi",
        ),
        ("A' rejoin @1 1+ann:1", "A' #7 Complete @4 [ann bob] 1:1 missed 3 4 said 2"),
    ]);
}

#[test]
fn a_return_over_the_same_link_says_all_again() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A2+bob", "A #2 in:2 @1 [ann bob] new | A +bob(2)"),
        ("A1!hi", ""),
        ("store", "A #3 stored 2 | A 2<1 ann: hi"),
        ("A rejoin @1 1+ann:1 2+bob:2", "A #5 Complete @2 [ann bob] 1:1 2:2 missed 2"),
        // It brings the new one itself, and needs not be told.
        ("A rejoin @2 1+ann:1 2+bob:2 3+cat", "A #6 Complete @2 [ann bob cat] 1:1 2:2 3:3"),
        ("A rejoin @2 2+bob:2", "A -ann | A -cat | A #7 Complete @2 [bob] 2:2"),
        ("A rejoin @2", "A #8 Complete @2 []"),
    ]);
}

#[test]
fn through_another_connector_the_return_is_as_quiet() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B lost", ""),
        ("C1+bob", "C #4 in:3 @1 [ann bob]"),
        ("tick 1000", ""),
        ("C1-", "C #6 gone | A -bob"),
    ]);
}

#[test]
fn after_a_move_new_names_are_told_to_the_others_only() {
    check(&[
        ("A rejoin @1? 1+ann<1 2+bob<2", "A #1 Reset @1 [ann bob] 1<1 2<2"),
        ("B rejoin @1? 1+cat<3", "A +cat | B #2 Reset @1 [ann bob cat] 1<3"),
        ("A1!hi", ""),
        ("store", "A #3 stored 2 | A 2<1 ann: hi | B 2<1 ann: hi"),
    ]);
}

#[test]
fn who_is_not_brought_any_more_has_left() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B2+cat=key", "B #3 in:3 @1 [ann bob cat] new | A +cat | B +cat(2)"),
        ("B lost", ""),
        ("B' rejoin @1 1+bob:2", "A -cat | B' #5 Complete @1 [ann bob] 1:2"),
        ("B'' rejoin @1", "A -bob | B'' #6 Complete @1 [ann]"),
        ("tick 1000", ""),
    ]);
}

#[test]
fn another_session_of_the_same_name_is_somebody_else() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        // While the link was lost, one bob left and another came.
        ("B' rejoin @1 2+bob", "A -bob | A +bob | B' #3 Complete @1 [ann bob] 2:3"),
        ("B' rejoin @1 3+bob=key", "A -bob | A +bob | B' #4 Complete @1 [ann bob] 3:4"),
    ]);
}

#[test]
fn a_member_whose_join_was_not_answered_gets_its_right_now() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B rejoin @0? 1+bob", "A +bob | B #2 Reset @1 [ann bob] 1:2"),
        ("B1+bob", "B #3 in:2 @1 [ann bob]"),
    ]);
}

#[test]
fn of_two_who_bring_a_name_the_older_right_stays() {
    check(&[
        ("A rejoin @0? 1+ann<5 2+dan<7", "A #1 Reset @1 [ann dan] 1<5 2<7"),
        ("B rejoin @0? 1+ann<6", "B #2 Reset @1 [ann dan] not 1"),
        ("B rejoin @0? 1+ann:1", "B #3 Reset @1 [ann dan] not 1"),
        ("B rejoin @0? 1+ann", "B #4 Reset @1 [ann dan] not 1"),
        (
            "B rejoin @0? 1+ann<4 2+bob<9",
            "A close 1: superseded: logged in elsewhere | A +bob | B #5 Reset @1 [dan ann bob] 1<4 2<9",
        ),
        ("A1!hi", "A #6 NotAMember"),
    ]);
}

#[test]
fn of_two_who_can_prove_to_be_the_same_the_newer_stays() {
    check(&[
        ("A rejoin @0? 1+ann=key<5 2+dan<7", "A #1 Reset @1 [ann dan] 1<5 2<7"),
        ("B rejoin @0? 1+ann=key<4", "B #2 Reset @1 [ann dan] not 1"),
        (
            "B rejoin @0? 1+ann=key<6",
            "A close 1: superseded: logged in elsewhere | B #3 Reset @1 [dan ann] 1<6",
        ),
        (
            "C rejoin @0? 1+ann=key",
            "B close 1: superseded: logged in elsewhere | C #4 Reset @1 [dan ann] 1:1",
        ),
    ]);
}

#[test]
fn a_name_in_grace_yields_to_whoever_may_have_it() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B2+cat=key", "B #3 in:3 @1 [ann bob cat] new | A +cat | B +cat(2)"),
        ("B lost", ""),
        ("C rejoin @1 1+bob:9 2+cat:1", "C #5 Complete @1 [ann cat bob] 1:9 not 2"),
        ("C rejoin @1 1+bob:9 2+cat=key:9", "C #6 Complete @1 [ann bob cat] 1:9 2:9"),
    ]);
}

#[test]
fn a_name_that_a_back_end_put_in_is_not_taken() {
    check(&[
        ("add bot", "call #1 stored 1"),
        ("A rejoin @1 1+bot<1", "A #2 Complete @1 [bot] not 1"),
    ]);
}

#[test]
fn one_name_brought_twice_by_one_connector_is_one_members() {
    check(&[
        ("A rejoin @1 1+ann:1 2+ann", "A #1 Complete @1 [ann] 1:1 not 2"),
        // The second can prove to be the first, and is newer.
        ("B rejoin @1 1+bob=key:1 2+bob=key:2", "A +bob | B #2 Complete @1 [ann bob] 2:2 not 1"),
    ]);
}

#[test]
fn one_session_brought_twice_is_one_member() {
    check(&[("A rejoin @1 1+ann:1 1+bob:2", "A #1 Complete @1 [ann] 1:1 not 1")]);
}

#[test]
fn a_full_room_takes_back_whoever_was_in() {
    check(&[
        ("A rejoin @1 1+a<1 2+b<2 3+c<3", "A #1 Complete @1 [a b c] 1<1 2<2 3<3"),
        ("B rejoin @1 1+d<4 2+e<5", "A +d | A +e | B #2 Complete @1 [a b c d e] 1<4 2<5"),
        ("B3+f", "B #3 RoomFull"),
    ]);
}

#[test]
fn a_mark_of_another_log_or_ahead_of_it_is_reset() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!hi", ""),
        ("store", "A #2 stored 2 | A 2<1 ann: hi"),
        ("B rejoin @1? 1+bob", "A +bob | B #4 Reset @2 [ann bob] 1:2 missed 2"),
        ("B' rejoin @3 1+bob", "B' #5 Reset @2 [ann bob] 1:3"),
        ("B'' rejoin @2 1+bob", "B'' #6 Complete @2 [ann bob] 1:4"),
    ]);
}

#[test]
fn a_mark_beyond_the_ring_needs_the_log() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!one", ""),
        ("A1!two", ""),
        ("store", "A #2 stored 2 | A 2<1 ann: one | A #3 stored 3 | A 3<2 ann: two"),
        ("A1!three", ""),
        ("A1!four", ""),
        ("store", "A #5 stored 4 | A 4<3 ann: three | A #6 stored 5 | A 5<4 ann: four"),
        // The ring has 3, 4 and 5.
        ("B rejoin @2 1+bob:2", "A +bob | B #8 Complete @5 [ann bob] 1:2 missed 3 4 5"),
        ("B' rejoin @1 1+bob:2", "B' #9 Truncated:3 @5 [ann bob] 1:2"),
        ("B'' rejoin @1 1+bob:2 +2", "B'' #10 Complete @5 [ann bob] 1:2 missed 2 3 4 5"),
        ("B''' rejoin @1 1+bob:2 +2,3", "B''' #11 Complete @5 [ann bob] 1:2 missed 2 3 4 5"),
        ("B'''' rejoin @1 1+bob:2 +lost 2", "B'''' #12 Truncated:3 @5 [ann bob] 1:2"),
        // What was read has the last word, and what is not after the mark is left out.
        ("B''''' rejoin @2 1+bob:2 +lost 3,4", "B''''' #13 Truncated:4 @5 [ann bob] 1:2"),
        ("B'''''' rejoin @2 1+bob:2 +2,3", "B'''''' #14 Complete @5 [ann bob] 1:2 missed 3 4 5"),
    ]);
}

#[test]
fn what_the_store_has_but_the_room_was_not_told_of_is_pushed_and_not_replayed() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!one", ""),
        ("append", "after 1: one"),
        ("B rejoin @0 1+bob:2 +2", "A +bob | B #4 Complete @1 [ann bob] 1:2"),
        ("stored", "A #2 stored 2 | A 2<1 ann: one | B 2<1 ann: one"),
    ]);
}

#[test]
fn a_replay_has_the_whispers_of_those_who_come_back_only() {
    check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("C1+cat", "C #3 in:3 @1 [ann bob cat] new | A +cat | B +cat | C +cat(1)"),
        ("B lost", ""),
        ("C lost", ""),
        ("A1>bob!psst", ""),
        ("A1>cat!psst", ""),
        ("store", "A #6 stored 2 | A #7 stored 3"),
        ("B' rejoin @1 1+bob:2", "B' #9 Complete @3 [ann bob cat] 1:2 missed 2"),
        // Another cat.
        ("D1+cat", "D #10 in:4 @3 [ann bob cat]"),
        ("D' rejoin @1 1+cat:4", "D' #11 Complete @3 [ann bob cat] 1:4"),
    ]);
}
