//! What every store must do. One suite; each implementation runs it.

mod appends;
mod claims;
mod reads;
mod upkeep;

use std::time::Duration;

use bytes::Bytes;
use model::{Epoch, Fence, Identity, RoomId, Seq, ShardId, UserName};

use crate::{
    Append, Appended, Body, Claim, Claimed, Cursor, Draft, Keeper, Page, Range, Retained,
    Retention, Row, Store,
};

/// Makes stores for the suite, and lets time pass for them.
#[allow(async_fn_in_trait, reason = "the suite spawns nothing")]
pub trait Harness {
    /// What is tested.
    type Store: Keeper;

    /// A new store, empty, which finds cmids by [`weak_dedup`] if it hashes them.
    async fn open(&self) -> Self::Store;

    /// Makes all that was stored older.
    async fn age(&self, store: &Self::Store, by: Duration);
}

/// A bad hash of (author, cmid): all cmids that begin with `collide` are one to it,
/// until it is given the second grain of salt.
#[must_use]
pub fn weak_dedup(author: Identity, cmid: &[u8], salt: u8) -> i64 {
    match cmid.starts_with(b"collide") && salt < 2 {
        true => 42,
        false => crate::dedup(author, cmid, salt),
    }
}

macro_rules! run {
    ($harness:expr, $($module:ident: $($case:ident)*;)*) => {
        $($(
            // Boxed: together they are large for a future.
            Box::pin($module::$case(&$harness.open().await)).await;
        )*)*
    };
}

/// Runs the whole suite, each case on a new store.
///
/// # Panics
///
/// If the store breaks a rule.
pub async fn check<H: Harness>(harness: &H) {
    run!(harness,
        appends:
            appends_are_numbered_without_holes
            an_append_under_a_superseded_term_changes_nothing
            an_append_that_does_not_continue_the_log_changes_nothing
            an_append_of_another_epoch_changes_nothing
            an_append_that_lands_late_changes_nothing
            a_repeated_cmid_is_found_and_refuses_its_whole_append
            a_cmid_is_its_authors_own
            one_cmid_twice_in_an_append_stores_nothing
            colliding_hashes_are_told_apart
            rooms_of_a_batch_fail_alone
            a_batch_of_many_rooms_is_stored
            whatever_can_be_said_is_kept_as_it_is;
        claims:
            a_claim_supersedes_and_is_listed
            racing_claims_of_a_new_room_make_one_room
            a_claim_wins_against_a_busy_writer
            many_rooms_are_claimed_at_once
            a_log_that_was_set_back_starts_a_new_epoch
            a_new_epoch_fences_and_keeps_the_entries;
        reads:
            pages_join
            an_unknown_room_is_empty
            heads_are_in_the_order_of_the_rooms
            whispers_keep_their_target
            an_export_has_everything_in_order
            rooms_are_listed_in_order;
        upkeep:
            redaction_empties_and_keeps_the_rest;
    );
    upkeep::run(harness).await;
}

/// An append of messages by one author; the cmids are the contents.
#[must_use]
pub fn append(room: &RoomId, claimed: &Claimed, after: Seq, contents: &[&str]) -> Append {
    let entries = contents.iter().map(|content| draft(content)).collect();
    Append { room: room.clone(), term: claimed.term, epoch: claimed.epoch, after, entries }
}

fn draft(content: &str) -> Draft {
    Draft {
        body: Body {
            author: UserName::parse("ann").expect("a name"),
            author_identity: ANN,
            target: None,
            content: content.into(),
        },
        cmid: Bytes::copy_from_slice(content.as_bytes()),
        digest: model::message_digest("*", content),
    }
}

const ANN: Identity = Identity([1; 16]);
const BOB: Identity = Identity([2; 16]);

fn room(name: &str) -> RoomId {
    RoomId::parse(name).expect("a room")
}

fn shard(name: &str) -> ShardId {
    name.parse().expect("a shard")
}

fn new_claim(name: &str, by: &str) -> Claim {
    Claim { room: room(name), shard: shard(by), seen: Fence::default() }
}

async fn claim(store: &impl Store, name: &str, by: &str) -> Claimed {
    store.claim(&[new_claim(name, by)]).await.expect("claim").remove(0)
}

async fn append_one(store: &impl Store, append: Append) -> Appended {
    store.append(&[append]).await.expect("append").remove(0)
}

/// Appends what has to be stored.
async fn say(store: &impl Store, name: &str, by: &Claimed, after: u64, contents: &[&str]) {
    let end = append_one(store, append(&room(name), by, Seq(after), contents)).await;
    assert!(matches!(end, Appended::Stored { at_ms: 1.. }), "{end:?}");
}

async fn find(store: &impl Store, name: &str, author: Identity, cmid: &str) -> Option<u64> {
    let cmid = Bytes::copy_from_slice(cmid.as_bytes());
    let found = store.find(&room(name), author, &cmid).await.expect("find");
    found.map(|found| found.seq.0)
}

async fn page(store: &impl Store, name: &str, range: Range, limit: usize) -> Page {
    store.read(&room(name), range, limit).await.expect("read")
}

fn line(row: &Row) -> String {
    match &row.said {
        Some(said) if said.redacted => format!("{} redacted{}", row.seq.0, said.body.content),
        Some(said) => format!("{} {}", row.seq.0, said.body.content),
        None => format!("{} claim", row.seq.0),
    }
}

async fn contents(store: &impl Store, name: &str, range: Range, limit: usize) -> Vec<String> {
    page(store, name, range, limit).await.entries.iter().map(line).collect()
}

/// All that can be read.
async fn all(store: &impl Store, name: &str) -> Vec<String> {
    contents(store, name, Range::After(Seq(0)), 10_000).await
}

/// Walks over all rooms in steps as small as can be.
async fn retain(store: &impl Keeper, policy: Retention) -> Retained {
    let (mut sum, mut from) = (Retained::default(), Cursor::default());
    for _ in 0..10_000 {
        let step = store.retain(policy, from, 2).await.expect("retain");
        sum.deleted += step.deleted;
        sum.emptied += step.emptied;
        match step.next {
            Some(next) => from = next,
            None => return sum,
        }
    }
    panic!("a walk without end");
}
