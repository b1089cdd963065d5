//! What inserting the same rows in as large batches costs when nothing else is done:
//! into a table with the columns and keys of the store's, nothing checked.

use std::{path::Path, time::Duration};

use anyhow::Context;
use chassis::Clock;
use postgres_server::PostgresServer;
use rusqlite::{Connection, params};
use tokio_postgres::NoTls;

use super::{batches::Batches, expect_some, percentiles, postgres_cpu, scramble};
use crate::process::Process;

/// Per row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) cpu_us: f64,
    /// Milliseconds of a commit: median, 99th percentile.
    pub(super) latency: (f64, f64),
}

/// What is inserted.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// Rows per batch.
    pub(super) batches: Batches,
    /// Rooms, which take turns.
    pub(super) rooms: usize,
    /// Bytes of a message's content.
    pub(super) content: usize,
    pub(super) time: Duration,
    /// Before each batch.
    pub(super) pause: Option<Duration>,
}

/// Makes rows.
#[derive(Debug)]
struct Rows {
    count: i64,
    rooms: i64,
}

struct Row {
    room: i64,
    seq: i64,
    cmid: [u8; 16],
    dedup: i64,
}

impl Rows {
    fn of(work: &Work) -> Self {
        Self { count: 0, rooms: work.rooms as i64 }
    }

    fn next(&mut self) -> Row {
        let number = self.count;
        self.count += 1;
        let random = scramble(number.cast_unsigned());
        let mut cmid = [0; 16];
        cmid[..8].copy_from_slice(&random.to_le_bytes());
        cmid[8..].copy_from_slice(&random.to_le_bytes());
        let (room, seq) = (number % self.rooms, number / self.rooms + 1);
        Row { room, seq, cmid, dedup: random.cast_signed() }
    }
}

const AUTHOR: [u8; 16] = [7; 16];
const NAME: &[u8] = b"user-1234";

/// In the server that the store was measured on.
pub(super) async fn postgres(server: &PostgresServer, work: &Work) -> anyhow::Result<Cost> {
    let again =
        "drop table if exists plain; create table plain (like shaddock_entry including all)";
    server.sql("chat", again)?;
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
    let mut connected = tokio::task::JoinSet::new();
    connected.spawn(connection);
    let insert = "insert into plain (room, seq, term, kind, author, author_name, cmid, dedup, digest, body, at)
        select room, seq, 1, 0, author, author_name, cmid, dedup, digest, body, 5
        from unnest($1::int8[], $2::int8[], $3::bytea[], $4::int8[], $5::bytea[], $6::bytea[],
            $7::int8[], $8::bytea[])
        as i (room, seq, cmid, dedup, author, author_name, digest, body)
        order by room, seq";
    let insert = client.prepare(insert).await?;
    let (clock, body) = (Clock::real(), vec![b'x'; work.content]);
    let (mut rows, mut latencies) = (Rows::of(work), Vec::new());
    let (begin, cpu) = (clock.now(), postgres_cpu(server)?);
    for size in work.batches.sizes().into_iter().cycle() {
        if clock.now() - begin > work.time {
            break;
        }
        if let Some(pause) = work.pause {
            tokio::time::sleep(pause).await;
        }
        let batch: Vec<Row> = (0..size).map(|_| rows.next()).collect();
        let room: Vec<i64> = batch.iter().map(|row| row.room).collect();
        let seq: Vec<i64> = batch.iter().map(|row| row.seq).collect();
        let cmid: Vec<&[u8]> = batch.iter().map(|row| &row.cmid[..]).collect();
        let dedup: Vec<i64> = batch.iter().map(|row| row.dedup).collect();
        // Each row has its own, in a chat.
        let (authors, names) = (vec![&AUTHOR[..]; batch.len()], vec![NAME; batch.len()]);
        let bodies = vec![&body[..]; batch.len()];
        let sent = clock.now();
        client
            .execute(&insert, &[&room, &seq, &cmid, &dedup, &authors, &names, &dedup, &bodies])
            .await?;
        latencies.push(clock.now() - sent);
    }
    let cpu = postgres_cpu(server)? - cpu;
    expect_some(latencies.len())?;
    drop(client);
    connected.join_next().await.context("a connection")??.context("the connection")?;
    Ok(Cost {
        cpu_us: cpu.as_secs_f64() * 1e6 / rows.count as f64,
        latency: percentiles(latencies),
    })
}

/// In a file of its own, with the settings of the store, on this thread.
pub(super) fn sqlite(path: &Path, work: &Work) -> anyhow::Result<Cost> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "create table plain (place integer primary key, term integer not null,
             kind integer not null, at integer not null, author blob, author_name blob,
             target blob, target_name blob, cmid blob, digest integer, body blob);
         create unique index plain_dedup on plain (digest);",
    )?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    db.pragma_update(None, "cache_size", -65_536)?;
    let mut insert = db.prepare(
        "insert into plain (place, term, kind, at, author, author_name, cmid, digest, body)
         values (?1, 1, 0, 5, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let (clock, body) = (Clock::real(), vec![b'x'; work.content]);
    let (mut rows, mut latencies) = (Rows::of(work), Vec::new());
    let (begin, cpu) = (clock.now(), Process::this_thread_cpu()?);
    for size in work.batches.sizes().into_iter().cycle() {
        if clock.now() - begin > work.time {
            break;
        }
        if let Some(pause) = work.pause {
            std::thread::sleep(pause);
        }
        let sent = clock.now();
        db.execute_batch("begin immediate")?;
        for _ in 0..size {
            let row = rows.next();
            let place = row.room << 40 | row.seq;
            insert.execute(params![place, &AUTHOR[..], NAME, &row.cmid[..], row.dedup, body])?;
        }
        db.execute_batch("commit")?;
        latencies.push(clock.now() - sent);
    }
    let cpu = Process::this_thread_cpu()? - cpu;
    expect_some(latencies.len())?;
    Ok(Cost {
        cpu_us: cpu.as_secs_f64() * 1e6 / rows.count as f64,
        latency: percentiles(latencies),
    })
}
