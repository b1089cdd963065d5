//! What can be read.

use super::*;
use crate::RecordKind;

pub(super) async fn pages_join(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    say(store, "r", &claimed, 1, &["a", "b", "c", "d"]).await;
    let after = async |seq, limit| contents(store, "r", Range::After(Seq(seq)), limit).await;
    assert_eq!(after(1, 2).await, ["2 a", "3 b"]);
    assert_eq!(after(3, 2).await, ["4 c", "5 d"]);
    assert_eq!(after(5, 2).await, [""; 0]);
    assert_eq!(after(u64::MAX, 2).await, [""; 0]);
    let before = async |seq, limit| contents(store, "r", Range::Before(Seq(seq)), limit).await;
    assert_eq!(before(5, 2).await, ["3 b", "4 c"]);
    assert_eq!(before(u64::MAX, 2).await, ["4 c", "5 d"]);
    assert_eq!(before(1, 2).await, [""; 0]);
    assert_eq!(before(0, 2).await, [""; 0]);
    let page = page(store, "r", Range::After(Seq(9)), 2).await;
    assert_eq!(page.head.expect("a head").position.seq, Seq(5));
}

pub(super) async fn an_unknown_room_is_empty(store: &impl Keeper) {
    let page = page(store, "nowhere", Range::After(Seq(0)), 10).await;
    assert_eq!((page.head, page.taken, page.entries.len()), (None, Seq(0), 0));
    assert_eq!(store.heads(&[room("nowhere")]).await.expect("heads"), [None]);
    assert_eq!(find(store, "nowhere", ANN, "a").await, None);
    assert!(!store.redact(&room("nowhere"), Seq(1)).await.expect("redact"));
    assert_eq!(store.export(&room("nowhere"), Seq(0), 10).await.expect("export"), None);
}

pub(super) async fn heads_are_in_the_order_of_the_rooms(store: &impl Keeper) {
    let two = claim(store, "two", "s0").await;
    say(store, "two", &two, 1, &["a"]).await;
    claim(store, "one", "s0").await;
    let rooms = ["one", "nowhere", "two", "one"].map(room);
    let heads = store.heads(&rooms).await.expect("heads");
    let seqs: Vec<_> = heads.iter().map(|head| head.map(|head| head.position.seq.0)).collect();
    assert_eq!(seqs, [Some(1), None, Some(2), Some(1)]);
    assert_eq!(store.heads(&[]).await.expect("heads"), []);
}

pub(super) async fn whispers_keep_their_target(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    let mut whisper = append(&room("r"), &claimed, Seq(1), &["psst"]);
    let target = Some((UserName::parse("bob").expect("a name"), BOB));
    whisper.entries[0].body.target.clone_from(&target);
    let body = whisper.entries[0].body.clone();
    append_one(store, whisper).await;
    let page = page(store, "r", Range::After(Seq(1)), 10).await;
    assert_eq!(page.entries[0].said.as_ref().expect("a whisper").body, body);
    assert_eq!(body.target, target);
}

pub(super) async fn an_export_has_everything_in_order(store: &impl Keeper) {
    let first = claim(store, "r", "s0").await;
    say(store, "r", &first, 1, &["a", "b"]).await;
    let second = claim(store, "r", "s1").await;
    say(store, "r", &second, 4, &["c"]).await;
    store.redact(&room("r"), Seq(2)).await.expect("redact");
    let (mut after, mut lines) = (Seq(0), Vec::new());
    loop {
        let page = store.export(&room("r"), after, 2).await.expect("export").expect("a room");
        assert_eq!((page.head.position.seq, page.head.fence.term), (Seq(5), second.term));
        let Some(last) = page.entries.last() else { break };
        after = last.seq;
        lines.extend(page.entries.iter().map(|record| {
            let what = match &record.kind {
                RecordKind::Claim { by, superseded } => format!("{by:?} {superseded:?}"),
                RecordKind::Said { said, digest } => {
                    let same = *digest == model::message_digest("*", "a");
                    format!("{:?} {} {same}", said.cmid, said.body.content)
                }
            };
            format!("{} {} {what}", record.seq.0, record.term.0)
        }));
    }
    let shards = [Some(shard("s0")), Some(shard("s1"))];
    let expected = [
        format!("1 1 {:?} None", shards[0]),
        "2 1 b\"a\"  true".to_owned(),
        "3 1 b\"b\" b false".to_owned(),
        format!("4 4 {:?} {:?}", shards[1], shards[0]),
        "5 4 b\"c\" c false".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(store.damage().await.expect("damage"), [""; 0]);
}

pub(super) async fn rooms_are_listed_in_order(store: &impl Keeper) {
    for name in ["b", "a", "\u{e9}", "c"] {
        claim(store, name, "s0").await;
    }
    let first = store.rooms(None, 2).await.expect("rooms");
    assert_eq!(first, ["a", "b"].map(room));
    let rest = store.rooms(Some(&first[1]), 10).await.expect("rooms");
    assert_eq!(rest, ["c", "\u{e9}"].map(room));
    assert_eq!(store.rooms(Some(&rest[1]), 10).await.expect("rooms"), []);
}
