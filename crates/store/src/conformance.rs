//! What every [`Store`] must do. One suite; each implementation runs it.

use bytes::Bytes;
use model::{Fence, Identity, RoomId, Seq, ShardId, UserName};

use crate::{Append, Appended, Body, Claim, Claimed, Draft, Found, Range, Store};

/// Runs the whole suite, each case on a new store.
///
/// # Panics
///
/// If the store breaks a rule.
pub async fn check<S: Store>(new: impl Fn() -> S) {
    appends_are_numbered_without_holes(&new()).await;
    an_append_under_a_superseded_term_changes_nothing(&new()).await;
    an_append_that_does_not_continue_the_log_changes_nothing(&new()).await;
    a_repeated_cmid_is_found_and_refuses_its_whole_append(&new()).await;
    one_room_of_a_batch_fails_alone(&new()).await;
    pages_join(&new()).await;
    an_unknown_room_is_empty(&new()).await;
}

/// An append of messages by one author; the cmids are the contents.
#[must_use]
pub fn append(room: &RoomId, claimed: &Claimed, after: Seq, contents: &[&str]) -> Append {
    let draft = |content: &&str| Draft {
        body: Body {
            author: UserName::parse("ann").expect("a name"),
            author_identity: Identity([1; 16]),
            target: None,
            content: (*content).into(),
        },
        cmid: Bytes::copy_from_slice(content.as_bytes()),
        digest: model::message_digest("*", content),
    };
    let entries = contents.iter().map(draft).collect();
    Append { room: room.clone(), term: claimed.term, epoch: claimed.epoch, after, entries }
}

fn room(name: &str) -> RoomId {
    RoomId::parse(name).expect("a room")
}

fn shard(name: &str) -> ShardId {
    name.parse().expect("a shard")
}

async fn claim(store: &impl Store, name: &str, by: &str) -> Claimed {
    let claim = Claim { room: room(name), shard: shard(by), seen: Fence::default() };
    store.claim(&[claim]).await.expect("claim").remove(0)
}

async fn append_one(store: &impl Store, append: Append) -> Appended {
    store.append(&[append]).await.expect("append").remove(0)
}

async fn contents(store: &impl Store, name: &str, range: Range, limit: usize) -> Vec<String> {
    let page = store.read(&room(name), range, limit).await.expect("read");
    let text = |row: &crate::Row| match &row.said {
        Some(said) => format!("{} {}", row.seq.0, said.body.content),
        None => format!("{} claim", row.seq.0),
    };
    page.entries.iter().map(text).collect()
}

async fn appends_are_numbered_without_holes(store: &impl Store) {
    let claimed = claim(store, "r", "s0").await;
    assert_eq!((claimed.term.0, claimed.superseded.clone()), (1, None));
    let stored = append_one(store, append(&room("r"), &claimed, Seq(1), &["a", "b"])).await;
    assert!(matches!(stored, Appended::Stored { .. }));
    let stored = append_one(store, append(&room("r"), &claimed, Seq(3), &["c"])).await;
    assert!(matches!(stored, Appended::Stored { .. }));
    assert_eq!(
        contents(store, "r", Range::After(Seq(0)), 10).await,
        ["1 claim", "2 a", "3 b", "4 c"]
    );
    let head = store.heads(&[room("r")]).await.expect("heads")[0].expect("a head");
    assert_eq!((head.position.seq, head.fence.term), (Seq(4), claimed.term));
}

async fn an_append_under_a_superseded_term_changes_nothing(store: &impl Store) {
    let old = claim(store, "r", "s0").await;
    let new = claim(store, "r", "s1").await;
    assert_eq!((new.superseded.clone(), new.epoch), (Some(shard("s0")), old.epoch));
    assert_eq!(
        append_one(store, append(&room("r"), &old, Seq(1), &["a"])).await,
        Appended::Superseded
    );
    assert_eq!(
        append_one(store, append(&room("r"), &old, Seq(2), &["a"])).await,
        Appended::Superseded
    );
    let stored = append_one(store, append(&room("r"), &new, Seq(2), &["b"])).await;
    assert!(matches!(stored, Appended::Stored { .. }));
    assert_eq!(contents(store, "r", Range::After(Seq(0)), 10).await, ["1 claim", "2 claim", "3 b"]);
}

async fn an_append_that_does_not_continue_the_log_changes_nothing(store: &impl Store) {
    let claimed = claim(store, "r", "s0").await;
    for after in [0, 2, 7] {
        let end = append_one(store, append(&room("r"), &claimed, Seq(after), &["a"])).await;
        assert_eq!(end, Appended::Superseded, "after {after}");
    }
    assert_eq!(contents(store, "r", Range::After(Seq(0)), 10).await, ["1 claim"]);
}

async fn a_repeated_cmid_is_found_and_refuses_its_whole_append(store: &impl Store) {
    let claimed = claim(store, "r", "s0").await;
    append_one(store, append(&room("r"), &claimed, Seq(1), &["a", "b"])).await;
    let end = append_one(store, append(&room("r"), &claimed, Seq(3), &["c", "b"])).await;
    let Appended::Duplicates(found) = end else { panic!("{end:?}") };
    let digest = model::message_digest("*", "b");
    assert!(
        matches!(found[..], [(1, Found { seq: Seq(3), digest: d, .. })] if d == digest),
        "{found:?}"
    );
    assert_eq!(contents(store, "r", Range::After(Seq(1)), 10).await, ["2 a", "3 b"]);

    let found =
        store.find(&room("r"), Identity([1; 16]), &Bytes::from_static(b"a")).await.expect("find");
    assert_eq!(found.map(|found| found.seq), Some(Seq(2)));
    let other =
        store.find(&room("r"), Identity([2; 16]), &Bytes::from_static(b"a")).await.expect("find");
    assert_eq!(other, None);
}

async fn one_room_of_a_batch_fails_alone(store: &impl Store) {
    let old = claim(store, "a", "s0").await;
    claim(store, "a", "s1").await;
    let good = claim(store, "b", "s0").await;
    let batch =
        [append(&room("a"), &old, Seq(1), &["x"]), append(&room("b"), &good, Seq(1), &["y"])];
    let ends = store.append(&batch).await.expect("append");
    assert_eq!(ends[0], Appended::Superseded);
    assert!(matches!(ends[1], Appended::Stored { .. }));
}

async fn pages_join(store: &impl Store) {
    let claimed = claim(store, "r", "s0").await;
    append_one(store, append(&room("r"), &claimed, Seq(1), &["a", "b", "c", "d"])).await;
    assert_eq!(contents(store, "r", Range::After(Seq(1)), 2).await, ["2 a", "3 b"]);
    assert_eq!(contents(store, "r", Range::After(Seq(3)), 2).await, ["4 c", "5 d"]);
    assert_eq!(contents(store, "r", Range::After(Seq(5)), 2).await, [""; 0]);
    assert_eq!(contents(store, "r", Range::Before(Seq(5)), 2).await, ["3 b", "4 c"]);
    assert_eq!(contents(store, "r", Range::Before(Seq(u64::MAX)), 2).await, ["4 c", "5 d"]);
}

async fn an_unknown_room_is_empty(store: &impl Store) {
    let page = store.read(&room("nowhere"), Range::After(Seq(0)), 10).await.expect("read");
    assert_eq!((page.head, page.entries.len()), (None, 0));
    assert_eq!(store.heads(&[room("nowhere")]).await.expect("heads"), [None]);
}
