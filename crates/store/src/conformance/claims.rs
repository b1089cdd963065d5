//! Who owns a room.

use futures::future::{join, join_all};
use model::{Gen, Term};

use super::*;
use crate::Superseded;

pub(super) async fn a_claim_supersedes_and_is_listed(store: &impl Keeper) {
    let first = claim(store, "r", "s0").await;
    let again = claim(store, "r", "s0").await;
    assert_eq!((again.term, again.superseded), (Term(2), None));
    let listed = async |by: &str| store.superseded(&shard(by)).await.expect("superseded");
    assert_eq!(listed("s0").await, []);

    let second = claim(store, "r", "s1").await;
    assert_eq!((second.term, second.superseded), (Term(3), Some(shard("s0"))));
    let fence = Fence { r#gen: first.r#gen, term: Term(3) };
    let lost = Superseded { room: room("r"), by: Some(shard("s1")), fence };
    assert_eq!(listed("s0").await, std::slice::from_ref(&lost));
    assert_eq!(listed("s1").await, []);
    // A claim by the same shard again does not hide whom it superseded.
    claim(store, "r", "s1").await;
    assert_eq!(listed("s0").await, [lost]);
}

pub(super) async fn racing_claims_of_a_new_room_make_one_room(store: &impl Keeper) {
    let names: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    let claims = names.iter().map(|by| claim(store, "new", by));
    let mut claimed = join_all(claims).await;
    claimed.sort_by_key(|claimed| claimed.term);
    assert_eq!(claimed.iter().map(|c| c.term.0).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert!(claimed.iter().all(|c| (c.epoch, c.r#gen) == (claimed[0].epoch, claimed[0].r#gen)));
    assert_eq!(claimed.iter().filter(|c| c.superseded.is_none()).count(), 1);
    // Only the last of them may write.
    for claimed in &claimed[..19] {
        let end = append_one(store, append(&room("new"), claimed, Seq(20), &["x"])).await;
        assert_eq!(end, Appended::Superseded);
    }
    say(store, "new", &claimed[19], 20, &["y"]).await;
}

pub(super) async fn a_claim_wins_against_a_busy_writer(store: &impl Keeper) {
    let busy = claim(store, "r", "s0").await;
    say(store, "r", &busy, 1, &["m1"]).await;
    let writing = async {
        for after in 2.. {
            tokio::task::yield_now().await;
            let next = append(&room("r"), &busy, Seq(after), &[&format!("m{after}")]);
            match append_one(store, next).await {
                Appended::Stored { .. } => {}
                Appended::Superseded => return after,
                end => panic!("{end:?}"),
            }
        }
        unreachable!("fenced before that")
    };
    let claiming = async {
        while find(store, "r", ANN, "m3").await.is_none() {
            tokio::task::yield_now().await;
        }
        claim(store, "r", "s1").await
    };
    let (after, new) = join(writing, claiming).await;
    assert_eq!(new.term.0, after + 1);
    say(store, "r", &new, new.term.0, &["done"]).await;
    let rows = all(store, "r").await;
    assert_eq!(rows.len() as u64, after + 2);
    assert_eq!(rows[after as usize], format!("{} claim", after + 1));
}

pub(super) async fn many_rooms_are_claimed_at_once(store: &impl Keeper) {
    claim(store, "b", "s1").await;
    let claims = ["a", "b", "c", "a"].map(|name| new_claim(name, "s0"));
    let claimed = store.claim(&claims).await.expect("claim");
    let terms: Vec<_> = claimed.iter().map(|claimed| claimed.term.0).collect();
    assert_eq!(terms[1..3], [2, 1]);
    assert_eq!([terms[0].min(terms[3]), terms[0].max(terms[3])], [1, 2]);
    assert_eq!(claimed[1].superseded, Some(shard("s1")));
    let epochs: std::collections::HashSet<_> = claimed.iter().map(|c| c.epoch.0).collect();
    assert_eq!(epochs.len(), 3);
    assert_eq!(store.claim(&[]).await.expect("claim"), []);
    assert_eq!(store.append(&[]).await.expect("append"), []);
}

pub(super) async fn a_log_that_was_set_back_starts_a_new_epoch(store: &impl Keeper) {
    let first = claim(store, "r", "s0").await;
    say(store, "r", &first, 1, &["a"]).await;
    let later = async |seen: Fence| {
        let claim = Claim { seen, ..new_claim("r", "s1") };
        store.claim(&[claim]).await.expect("claim").remove(0)
    };
    // What it knows already keeps its epoch.
    let known = later(Fence { r#gen: first.r#gen, term: first.term }).await;
    assert_eq!(known.epoch, first.epoch);
    // Somebody has seen an incarnation that is not here.
    let seen = Fence { r#gen: Gen(first.r#gen.0 + 5_000_000), term: Term(9) };
    let second = later(seen).await;
    assert_ne!(second.epoch, first.epoch);
    assert!(second.r#gen > seen.r#gen, "{second:?}");
    // Or a later claim in this one.
    let seen = Fence { r#gen: second.r#gen, term: Term(second.term.0 + 1000) };
    let third = later(seen).await;
    assert_ne!(third.epoch, second.epoch);
    assert!(third.r#gen > second.r#gen, "{third:?}");
    say(store, "r", &third, third.term.0, &["b"]).await;
    // A new room, too.
    let seen = Fence { r#gen: Gen(first.r#gen.0 + 9_000_000), term: Term(2) };
    let claims = [Claim { seen, ..new_claim("new", "s1") }];
    let new = store.claim(&claims).await.expect("claim").remove(0);
    assert!(new.r#gen >= seen.r#gen, "{new:?}");
    assert!(Fence { r#gen: new.r#gen, term: new.term } > seen, "{new:?}");
}

pub(super) async fn a_new_epoch_fences_and_keeps_the_entries(store: &impl Keeper) {
    assert_eq!(store.new_epoch(&room("r")).await.expect("new epoch"), None);
    let old = claim(store, "r", "s0").await;
    say(store, "r", &old, 1, &["a"]).await;
    let new = store.new_epoch(&room("r")).await.expect("new epoch").expect("a room");
    assert_ne!(new.epoch, old.epoch);
    assert!(new.r#gen > old.r#gen);
    assert_eq!((new.term, new.superseded), (Term(3), Some(shard("s0"))));
    store.adopt().await.expect("adopt");
    let end = append_one(store, append(&room("r"), &old, Seq(2), &["b"])).await;
    assert_eq!(end, Appended::Superseded);
    let listed = store.superseded(&shard("s0")).await.expect("superseded");
    let fence = Fence { r#gen: new.r#gen, term: new.term };
    assert_eq!(listed, [Superseded { room: room("r"), by: None, fence }]);
    // The next owner takes it from nobody, and repeated cmids are still known.
    let next = claim(store, "r", "s0").await;
    assert_eq!((next.epoch, next.superseded.clone()), (new.epoch, None));
    say(store, "r", &next, 4, &["b"]).await;
    assert_eq!(all(store, "r").await, ["1 claim", "2 a", "3 claim", "4 claim", "5 b"]);
    assert_eq!(find(store, "r", ANN, "a").await, Some(2));
}
