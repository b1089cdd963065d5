//! What is stored, once, and what is not.

use super::*;
use crate::Found;

pub(super) async fn appends_are_numbered_without_holes(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    assert_eq!((claimed.term.0, claimed.superseded.clone()), (1, None));
    say(store, "r", &claimed, 1, &["a", "b"]).await;
    say(store, "r", &claimed, 3, &["c"]).await;
    assert_eq!(all(store, "r").await, ["1 claim", "2 a", "3 b", "4 c"]);
    let head = store.heads(&[room("r")]).await.expect("heads")[0].expect("a head");
    assert_eq!((head.position.seq, head.fence.term), (Seq(4), claimed.term));
    assert_eq!((head.position.epoch, head.fence.r#gen), (claimed.epoch, claimed.r#gen));
}

pub(super) async fn an_append_under_a_superseded_term_changes_nothing(store: &impl Keeper) {
    let old = claim(store, "r", "s0").await;
    let new = claim(store, "r", "s1").await;
    assert_eq!((new.superseded.clone(), new.epoch), (Some(shard("s0")), old.epoch));
    for after in [1, 2] {
        let end = append_one(store, append(&room("r"), &old, Seq(after), &["a"])).await;
        assert_eq!(end, Appended::Superseded, "after {after}");
    }
    // The cmid and the number of what was refused are free.
    say(store, "r", &new, 2, &["a"]).await;
    assert_eq!(all(store, "r").await, ["1 claim", "2 claim", "3 a"]);
}

pub(super) async fn an_append_of_another_epoch_changes_nothing(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    // A log that was set back can have a claim where another one was.
    let mut other = append(&room("r"), &claimed, Seq(1), &["a", "b"]);
    other.epoch = Epoch(!claimed.epoch.0);
    assert_eq!(append_one(store, other).await, Appended::Superseded);
    say(store, "r", &claimed, 1, &["a"]).await;
    assert_eq!(all(store, "r").await, ["1 claim", "2 a"]);
}

pub(super) async fn an_append_that_does_not_continue_the_log_changes_nothing(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    for after in [0, 2, 7] {
        let end = append_one(store, append(&room("r"), &claimed, Seq(after), &["a", "b"])).await;
        assert_eq!(end, Appended::Superseded, "after {after}");
    }
    assert_eq!(all(store, "r").await, ["1 claim"]);
    let end = append_one(store, append(&room("nowhere"), &claimed, Seq(1), &["a"])).await;
    assert_eq!(end, Appended::Superseded);
}

pub(super) async fn an_append_that_lands_late_changes_nothing(store: &impl Keeper) {
    let old = claim(store, "r", "s0").await;
    say(store, "r", &old, 1, &["a"]).await;
    let stuck = append(&room("r"), &old, Seq(2), &["b", "c"]);
    // Nobody knows what became of it: its shard claims, looks, and repeats it.
    let new = claim(store, "r", "s0").await;
    assert_eq!(new.superseded, None);
    assert_eq!(find(store, "r", ANN, "b").await, None);
    say(store, "r", &new, 3, &["b"]).await;
    assert_eq!(append_one(store, stuck.clone()).await, Appended::Superseded);
    assert_eq!(append_one(store, stuck).await, Appended::Superseded);
    assert_eq!(all(store, "r").await, ["1 claim", "2 a", "3 claim", "4 b"]);
    assert_eq!(find(store, "r", ANN, "b").await, Some(4));
}

pub(super) async fn a_repeated_cmid_is_found_and_refuses_its_whole_append(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    say(store, "r", &claimed, 1, &["a", "b"]).await;
    let mut repeated = append(&room("r"), &claimed, Seq(3), &["c", "b"]);
    let digest = repeated.entries[1].digest;
    // It is for the caller to compare digests.
    repeated.entries[1].digest = 7;
    let end = append_one(store, repeated).await;
    let Appended::Duplicates(found) = end else { panic!("{end:?}") };
    assert!(
        matches!(found[..], [(1, Found { seq: Seq(3), digest: d, at_ms: 1.. })] if d == digest),
        "{found:?}"
    );
    assert_eq!(all(store, "r").await, ["1 claim", "2 a", "3 b"]);
    // Under any owner.
    let next = claim(store, "r", "s1").await;
    let end = append_one(store, append(&room("r"), &next, Seq(4), &["a", "b"])).await;
    let Appended::Duplicates(found) = end else { panic!("{end:?}") };
    assert_eq!(found.iter().map(|(at, f)| (*at, f.seq.0)).collect::<Vec<_>>(), [(0, 2), (1, 3)]);
    assert_eq!(find(store, "r", ANN, "c").await, None);
}

pub(super) async fn a_cmid_is_its_authors_own(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    let mut two = append(&room("r"), &claimed, Seq(1), &["a", "a"]);
    two.entries[1].body.author_identity = BOB;
    let end = append_one(store, two).await;
    assert!(matches!(end, Appended::Stored { .. }), "{end:?}");
    assert_eq!(find(store, "r", ANN, "a").await, Some(2));
    assert_eq!(find(store, "r", BOB, "a").await, Some(3));
    assert_eq!(find(store, "r", Identity([3; 16]), "a").await, None);
    // And of one room.
    let other = claim(store, "other", "s0").await;
    assert_eq!(find(store, "other", ANN, "a").await, None);
    say(store, "other", &other, 1, &["a"]).await;
}

pub(super) async fn one_cmid_twice_in_an_append_stores_nothing(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    let good = claim(store, "g", "s0").await;
    let batch = [
        append(&room("r"), &claimed, Seq(1), &["a", "b", "a"]),
        append(&room("g"), &good, Seq(1), &["a"]),
    ];
    let ends = store.append(&batch).await.expect("append");
    assert!(matches!(ends[0], Appended::Failed(_)), "{ends:?}");
    assert!(matches!(ends[1], Appended::Stored { .. }), "{ends:?}");
    assert_eq!(all(store, "r").await, ["1 claim"]);
}

pub(super) async fn colliding_hashes_are_told_apart(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    say(store, "r", &claimed, 1, &["collide 1"]).await;
    say(store, "r", &claimed, 2, &["collide 2", "b"]).await;
    let end = append_one(store, append(&room("r"), &claimed, Seq(4), &["collide 2"])).await;
    assert!(matches!(&end, Appended::Duplicates(f) if f[0].1.seq == Seq(3)), "{end:?}");
    say(store, "r", &claimed, 4, &["collide 3", "collide 4"]).await;
    for (cmid, seq) in [("collide 1", 2), ("collide 2", 3), ("collide 3", 5), ("collide 4", 6)] {
        assert_eq!(find(store, "r", ANN, cmid).await, Some(seq), "{cmid}");
    }
    assert_eq!(find(store, "r", ANN, "collide 5").await, None);
}

pub(super) async fn rooms_of_a_batch_fail_alone(store: &impl Keeper) {
    let old = claim(store, "a", "s0").await;
    claim(store, "a", "s1").await;
    let good = claim(store, "b", "s0").await;
    let again = claim(store, "c", "s0").await;
    say(store, "c", &again, 1, &["x"]).await;
    let collides = claim(store, "d", "s0").await;
    say(store, "d", &collides, 1, &["collide 1"]).await;
    let batch = [
        append(&room("a"), &old, Seq(1), &["x"]),
        append(&room("b"), &good, Seq(1), &["y", "z"]),
        append(&room("c"), &again, Seq(2), &["w", "x"]),
        append(&room("nowhere"), &again, Seq(1), &["x"]),
        append(&room("d"), &collides, Seq(2), &["collide 2"]),
    ];
    let ends = store.append(&batch).await.expect("append");
    assert_eq!(ends[0], Appended::Superseded);
    assert!(matches!(ends[1], Appended::Stored { .. }), "{ends:?}");
    assert!(matches!(&ends[2], Appended::Duplicates(f) if f.len() == 1), "{ends:?}");
    assert_eq!(ends[3], Appended::Superseded);
    assert!(matches!(ends[4], Appended::Stored { .. }), "{ends:?}");
    assert_eq!(all(store, "b").await, ["1 claim", "2 y", "3 z"]);
    assert_eq!(all(store, "c").await, ["1 claim", "2 x"]);
}

pub(super) async fn a_batch_of_many_rooms_is_stored(store: &impl Keeper) {
    let names: Vec<String> = (0..300).map(|n| format!("room {n}")).collect();
    let claims: Vec<_> = names.iter().map(|name| new_claim(name, "s0")).collect();
    let claimed = store.claim(&claims).await.expect("claim");
    for after in [1, 3] {
        let texts = [format!("m{after}"), format!("n{after}")];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let rooms = names.iter().zip(&claimed);
        let batch: Vec<_> =
            rooms.map(|(name, by)| append(&room(name), by, Seq(after), &texts)).collect();
        let ends = store.append(&batch).await.expect("append");
        assert!(ends.iter().all(|end| matches!(end, Appended::Stored { .. })), "{ends:?}");
    }
    for name in [&names[0], &names[150], &names[299]] {
        assert_eq!(all(store, name).await, ["1 claim", "2 m1", "3 n1", "4 m3", "5 n3"]);
    }
}

pub(super) async fn whatever_can_be_said_is_kept_as_it_is(store: &impl Keeper) {
    let name = "\u{623f}\u{95f4} 'x'; drop table entry; -- \\";
    let claimed = claim(store, name, "s0").await;
    let texts =
        ["nul \0 in it", "", "'; \\' \"", "\u{1f469}\u{200d}\u{1f680} \u{202e}", "\u{ffff}"];
    let mut weird = append(&room(name), &claimed, Seq(1), &texts);
    let cmids: [&[u8]; 5] = [b"\0", b"", b"\xff\xfe", b"'", b"\\x00"];
    for (draft, cmid) in weird.entries.iter_mut().zip(cmids) {
        draft.cmid = Bytes::from_static(cmid);
        draft.digest = u64::MAX;
    }
    let end = append_one(store, weird).await;
    assert!(matches!(end, Appended::Stored { .. }), "{end:?}");
    let page = page(store, name, Range::After(Seq(1)), 10).await;
    for ((row, text), cmid) in page.entries.iter().zip(texts).zip(cmids) {
        let said = row.said.as_ref().expect("a message");
        assert_eq!((&*said.body.content, &*said.cmid, said.redacted), (text, cmid, false));
        let found = store.find(&room(name), ANN, &said.cmid).await.expect("find").expect("found");
        assert_eq!((found.seq, found.digest, found.at_ms), (row.seq, u64::MAX, row.at_ms));
    }
    assert_eq!(page.entries.len(), 5);
    let long = "x".repeat(1 << 20);
    say(store, name, &claimed, 6, &[&long]).await;
    assert_eq!(contents(store, name, Range::After(Seq(6)), 1).await, [format!("7 {long}")]);
}
