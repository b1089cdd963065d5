//! Measures durable appends of the SQLite store beside bare tables in the same
//! engine: `cargo run --release -p store --example append_throughput [FOLDER]`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measurement, for people"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Fence, Identity, RoomId, Seq, UserName};
use rusqlite::{Connection, params};
use store::{Append, Appended, Body, Claim, Draft, Purpose, Sqlite, Store};

const RUN: Duration = Duration::from_secs(3);
const TEXT: &str = "a message of hundred and fifty bytes, as people send them to each other all day \
     long, in rooms that have some hundred members, and more of the same, yes yes";

const BARE: &str = "create table log (id integer primary key, room integer, seq integer,
     term integer, kind integer, at integer, author blob, name blob, cmid blob, digest integer,
     body blob)";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    println!("{:40} {:>6} {:>9} {:>6}", "shape", "batch", "per s", "us");
    for batch in [1, 32, 256] {
        bare(&folder, "one log table, no index", "", batch);
        let unique = "create unique index cmids on log (room, digest)";
        bare(&folder, "one log table, unique (room, dedup)", unique, batch);
        for rooms in [1, 32] {
            sqlite(&folder, rooms.min(batch), batch).await;
        }
    }
}

fn report(shape: &str, batch: usize, count: u64, took: Duration) {
    let us = took.as_secs_f64() * 1e6 / count as f64;
    println!("{shape:40} {batch:6} {:9.0} {us:6.2}", 1e6 / us);
}

fn bare(folder: &str, shape: &str, index: &str, batch: usize) {
    let folder = tempfile::tempdir_in(folder).unwrap();
    let db = Connection::open(folder.path().join("bare.db")).unwrap();
    db.execute_batch(BARE).unwrap();
    db.execute_batch(index).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.pragma_update(None, "synchronous", "full").unwrap();
    db.pragma_update(None, "wal_autocheckpoint", 16_384).unwrap();
    db.pragma_update(None, "cache_size", -65_536).unwrap();
    let mut insert = db
        .prepare(
            "insert into log (room, seq, term, kind, at, author, name, cmid, digest, body)
             values (1, ?1, 1, 0, 5, ?2, 'ann', ?3, ?4, ?5)",
        )
        .unwrap();
    let (started, mut count) = (Instant::now(), 0_u64);
    while started.elapsed() < RUN {
        db.execute_batch("begin immediate").unwrap();
        for _ in 0..batch {
            count += 1;
            let cmid = scramble(count);
            let row = params![
                count.cast_signed(),
                [7_u8; 16],
                cmid.to_le_bytes(),
                cmid.cast_signed(),
                TEXT
            ];
            insert.execute(row).unwrap();
        }
        db.execute_batch("commit").unwrap();
    }
    report(shape, batch, count, started.elapsed());
}

async fn sqlite(folder: &str, rooms: usize, batch: usize) {
    let folder = tempfile::tempdir_in(folder).unwrap();
    let path = folder.path().join("chat.db");
    let store = Sqlite::open(path, Purpose::Serve, || 1_000_000, || 7).unwrap();
    let names: Vec<_> = (0..rooms).map(|n| RoomId::parse(&format!("room {n}")).unwrap()).collect();
    let claim = |room: &RoomId| Claim {
        room: room.clone(),
        shard: "s".parse().unwrap(),
        seen: Fence::default(),
    };
    let claims: Vec<_> = names.iter().map(claim).collect();
    let claimed = store.claim(&claims).await.unwrap();
    let body = Body {
        author: UserName::parse("ann").unwrap(),
        author_identity: Identity([7; 16]),
        target: None,
        content: TEXT.into(),
    };
    let (started, mut count, mut after) = (Instant::now(), 0_u64, Seq(1));
    let each = batch / rooms;
    while started.elapsed() < RUN {
        let appends = names.iter().zip(&claimed).map(|(room, claimed)| {
            let entries = (0..each).map(|_| {
                count += 1;
                draft(&body, count)
            });
            let entries = entries.collect();
            Append { room: room.clone(), term: claimed.term, epoch: claimed.epoch, after, entries }
        });
        let ends = store.append(&appends.collect::<Vec<_>>()).await.unwrap();
        assert!(ends.iter().all(|end| matches!(end, Appended::Stored { .. })), "{ends:?}");
        after = Seq(after.0 + each as u64);
    }
    report(&format!("the store, {rooms} rooms"), batch, count, started.elapsed());
}

fn draft(body: &Body, count: u64) -> Draft {
    let cmid = Bytes::copy_from_slice(&scramble(count).to_le_bytes());
    Draft { body: body.clone(), cmid, digest: count }
}

/// As random as cmids are.
fn scramble(count: u64) -> u64 {
    count.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
