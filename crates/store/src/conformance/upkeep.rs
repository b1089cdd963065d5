//! What may go, and what stays of it.

use super::*;
use crate::RecordKind;

const HOUR: Duration = Duration::from_secs(3600);

fn keep(age: Duration, entries: u64) -> Retention {
    Retention { age, entries }
}

pub(super) async fn redaction_empties_and_keeps_the_rest(store: &impl Keeper) {
    let claimed = claim(store, "r", "s0").await;
    say(store, "r", &claimed, 1, &["a", "b"]).await;
    let before = store.find(&room("r"), ANN, &Bytes::from_static(b"a")).await.expect("find");
    for _ in 0..2 {
        assert!(store.redact(&room("r"), Seq(2)).await.expect("redact"));
    }
    for seq in [0, 1, 4] {
        assert!(!store.redact(&room("r"), Seq(seq)).await.expect("redact"), "{seq}");
    }
    let page = page(store, "r", Range::After(Seq(0)), 10).await;
    let lines: Vec<_> = page.entries.iter().map(line).collect();
    assert_eq!(lines, ["1 claim", "2 redacted", "3 b"]);
    // Redaction takes nothing: a page is not truncated by it.
    assert_eq!(page.taken, Seq(0));
    let after = store.find(&room("r"), ANN, &Bytes::from_static(b"a")).await.expect("find");
    assert_eq!(after, before);
    let end = append_one(store, append(&room("r"), &claimed, Seq(3), &["a"])).await;
    assert_eq!(end, Appended::Duplicates(vec![(0, before.expect("found"))]));
}

/// The cases in which time passes.
pub(super) async fn run<H: Harness>(harness: &H) {
    Box::pin(superseded_shards_are_listed_for_10_s(harness)).await;
    Box::pin(a_count_takes_a_prefix_and_leaves_its_cmids(harness)).await;
    Box::pin(an_age_takes_a_prefix(harness)).await;
    Box::pin(claims_are_not_missed_and_the_newest_stays(harness)).await;
    Box::pin(retention_walks_over_all_rooms(harness)).await;
    Box::pin(what_is_kept_is_left_alone(harness)).await;
}

async fn superseded_shards_are_listed_for_10_s<H: Harness>(harness: &H) {
    let store = harness.open().await;
    claim(&store, "r", "s0").await;
    claim(&store, "r", "s1").await;
    assert_eq!(store.superseded(&shard("s0")).await.expect("superseded").len(), 1);
    harness.age(&store, Duration::from_secs(11)).await;
    assert_eq!(store.superseded(&shard("s0")).await.expect("superseded"), []);
}

async fn a_count_takes_a_prefix_and_leaves_its_cmids<H: Harness>(harness: &H) {
    let store = harness.open().await;
    let claimed = claim(&store, "r", "s0").await;
    say(&store, "r", &claimed, 1, &["a", "b", "c", "d", "e"]).await;
    retain(&store, keep(1000 * HOUR, 2)).await;
    assert_eq!(all(&store, "r").await, ["5 d", "6 e"]);
    let page = page(&store, "r", Range::After(Seq(4)), 1).await;
    assert_eq!((page.taken, line(&page.entries[0])), (Seq(4), "5 d".to_owned()));
    assert_eq!(contents(&store, "r", Range::Before(Seq(6)), 10).await, ["5 d"]);
    assert_eq!(contents(&store, "r", Range::Before(Seq(4)), 10).await, [""; 0]);
    // Nothing is left of what was said, and it is not to be redacted any more.
    for record in records(&store, "r").await.iter().filter(|record| record.seq.0 <= 4) {
        if let RecordKind::Said { said, .. } = &record.kind {
            assert_eq!(&*said.body.content, "", "{record:?}");
        }
    }
    assert!(!store.redact(&room("r"), Seq(3)).await.expect("redact"));
    // Repeated cmids are known for 24 h, whatever was taken.
    harness.age(&store, 23 * HOUR).await;
    retain(&store, keep(1000 * HOUR, 2)).await;
    assert_eq!(find(&store, "r", ANN, "a").await, Some(2));
    let end = append_one(&store, append(&room("r"), &claimed, Seq(6), &["x", "c"])).await;
    assert!(matches!(&end, Appended::Duplicates(f) if f[0].1.seq == Seq(4)), "{end:?}");
    say(&store, "r", &claimed, 6, &["f"]).await;
    // After that, nothing is left of them at all.
    harness.age(&store, 2 * HOUR).await;
    retain(&store, keep(1000 * HOUR, 2)).await;
    assert_eq!(all(&store, "r").await, ["6 e", "7 f"]);
    assert!(records(&store, "r").await.iter().all(|record| match record.kind {
        RecordKind::Said { .. } => record.seq.0 > 5,
        RecordKind::Claim { .. } => true,
    }));
    // The owner is still known.
    let next = claim(&store, "r", "s1").await;
    assert_eq!((next.term.0, next.superseded.clone()), (8, Some(shard("s0"))));
    say(&store, "r", &next, 8, &["g"]).await;
}

async fn an_age_takes_a_prefix<H: Harness>(harness: &H) {
    let store = harness.open().await;
    let claimed = claim(&store, "r", "s0").await;
    say(&store, "r", &claimed, 1, &["a", "b"]).await;
    harness.age(&store, HOUR).await;
    say(&store, "r", &claimed, 3, &["c"]).await;
    retain(&store, keep(2 * HOUR, 1000)).await;
    assert_eq!(all(&store, "r").await, ["1 claim", "2 a", "3 b", "4 c"]);
    retain(&store, keep(HOUR / 2, 1000)).await;
    assert_eq!(all(&store, "r").await, ["4 c"]);
    assert_eq!(find(&store, "r", ANN, "b").await, Some(3));
    harness.age(&store, 100 * HOUR).await;
    retain(&store, keep(50 * HOUR, 1000)).await;
    assert_eq!(
        page(&store, "r", Range::After(Seq(0)), 10).await.head.expect("a head").position.seq,
        Seq(4)
    );
    say(&store, "r", &claimed, 4, &["d"]).await;
    assert_eq!(contents(&store, "r", Range::After(Seq(4)), 10).await, ["5 d"]);
}

async fn claims_are_not_missed_and_the_newest_stays<H: Harness>(harness: &H) {
    let store = harness.open().await;
    let first = claim(&store, "r", "s0").await;
    say(&store, "r", &first, 1, &["a"]).await;
    claim(&store, "r", "s1").await;
    let last = claim(&store, "r", "s2").await;
    harness.age(&store, 100 * HOUR).await;
    retain(&store, keep(HOUR, 0)).await;
    let page = page(&store, "r", Range::After(Seq(2)), 10).await;
    assert_eq!((page.taken, page.head.expect("a head").position.seq), (Seq(2), Seq(4)));
    say(&store, "r", &last, 4, &["b"]).await;
    assert_eq!(claim(&store, "r", "s3").await.superseded, Some(shard("s2")));
}

async fn retention_walks_over_all_rooms<H: Harness>(harness: &H) {
    let store = harness.open().await;
    for name in ["a", "b", "c", "d", "e"] {
        let claimed = claim(&store, name, "s0").await;
        say(&store, name, &claimed, 1, &["1", "2", "3"]).await;
    }
    harness.age(&store, 30 * HOUR).await;
    retain(&store, keep(1000 * HOUR, 1)).await;
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(all(&store, name).await, ["4 3"], "{name}");
    }
}

async fn what_is_kept_is_left_alone<H: Harness>(harness: &H) {
    let store = harness.open().await;
    let claimed = claim(&store, "r", "s0").await;
    say(&store, "r", &claimed, 1, &["a", "b"]).await;
    harness.age(&store, 30 * HOUR).await;
    assert_eq!(retain(&store, Retention::default()).await, Retained::default());
    assert_eq!(all(&store, "r").await, ["1 claim", "2 a", "3 b"]);
    assert_eq!(page(&store, "r", Range::After(Seq(0)), 1).await.taken, Seq(0));
}

async fn records(store: &impl Keeper, name: &str) -> Vec<crate::Record> {
    let export = store.export(&room(name), Seq(0), 10_000).await.expect("export");
    export.expect("a room").entries
}
