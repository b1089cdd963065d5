//! What can be read. Each in one statement, so that it sees one state.

use std::collections::HashMap;

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use model::{Epoch, Fence, Gen, Identity, Position, RoomId, Seq, ShardId, Term};
use tokio_postgres::Row as SqlRow;

use super::{append::SALTS, connect::Fault};
use crate::{
    Dedup, Export, Found, Head, Page, Range, SUPERSEDED_MS, Superseded,
    raw::{self, Raw},
};

const HEADS: &str = "
    select r.epoch, r.gen, h.seq, h.term, r.name from shaddock_room r
    join lateral (select seq, term from shaddock_entry where room = r.id
                  order by seq desc limit 1) h on true
    where r.name = any($1::bytea[])";

/// A room, its head, and a page of it.
macro_rules! page {
    ($which:literal, $order:literal) => {
        concat!(
            "select r.epoch, r.gen, h.seq, h.term, r.taken, e.seq, e.term, e.kind, e.at, e.author,
                 e.author_name, e.target, e.target_name, e.cmid, e.digest, e.body
             from shaddock_room r
             join lateral (select seq, term from shaddock_entry where room = r.id
                           order by seq desc limit 1) h on true
             left join lateral (select * from shaddock_entry where room = r.id and ",
            $which,
            " order by seq ",
            $order,
            " limit $3) e on true
             where r.name = $1 order by e.seq"
        )
    };
}

const AFTER: &str = page!("seq > greatest($2, r.taken)", "asc");
const BEFORE: &str = page!("seq < $2 and seq > r.taken", "desc");
const ALL: &str = page!("seq > $2", "asc");

fn head(row: &SqlRow) -> Head {
    let epoch: i64 = row.get(0);
    let fence =
        Fence { r#gen: Gen(raw::unsigned(row.get(1))), term: Term(raw::unsigned(row.get(3))) };
    let epoch = Epoch(epoch.cast_unsigned());
    Head { position: Position { epoch, seq: Seq(raw::unsigned(row.get(2))) }, fence }
}

pub(super) async fn heads(
    client: &ClientWrapper,
    rooms: &[RoomId],
) -> Result<Vec<Option<Head>>, Fault> {
    let names: Vec<&[u8]> = rooms.iter().map(|room| room.as_str().as_bytes()).collect();
    let statement = client.prepare_cached(HEADS).await?;
    let rows = client.query(&statement, &[&names]).await?;
    let heads: HashMap<&[u8], Head> = rows.iter().map(|row| (row.get(4), head(row))).collect();
    Ok(names.iter().map(|name| heads.get(name).copied()).collect())
}

/// The entries of a page, if it has any.
fn raws(rows: &[SqlRow]) -> impl Iterator<Item = Raw> {
    rows.iter().filter_map(|row| {
        Some(Raw {
            seq: row.get::<_, Option<i64>>(5)?,
            term: row.get(6),
            kind: row.get(7),
            at_ms: row.get(8),
            author: row.get(9),
            author_name: row.get(10),
            target: row.get(11),
            target_name: row.get(12),
            cmid: row.get(13),
            digest: row.get(14),
            body: row.get(15),
        })
    })
}

pub(super) async fn page(
    client: &ClientWrapper,
    room: &RoomId,
    range: Range,
    limit: usize,
) -> Result<Page, Fault> {
    let (query, seq) = match range {
        Range::After(seq) => (AFTER, seq),
        Range::Before(seq) => (BEFORE, seq),
    };
    let statement = client.prepare_cached(query).await?;
    let (name, seq, limit) =
        (room.as_str().as_bytes(), raw::signed(seq.0), raw::signed(limit as u64));
    let rows = client.query(&statement, &[&name, &seq, &limit]).await?;
    let Some(first) = rows.first() else {
        return Ok(Page { head: None, taken: Seq(0), entries: Vec::new() });
    };
    let entries = raws(&rows).map(Raw::row).collect::<Result<_, _>>()?;
    Ok(Page { head: Some(head(first)), taken: Seq(raw::unsigned(first.get(4))), entries })
}

pub(super) async fn export(
    client: &ClientWrapper,
    room: &RoomId,
    after: Seq,
    limit: usize,
) -> Result<Option<Export>, Fault> {
    let statement = client.prepare_cached(ALL).await?;
    let (name, after) = (room.as_str().as_bytes(), raw::signed(after.0));
    let rows = client.query(&statement, &[&name, &after, &raw::signed(limit as u64)]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let entries = raws(&rows).map(Raw::record).collect::<Result<_, _>>()?;
    Ok(Some(Export { head: head(first), taken: Seq(raw::unsigned(first.get(4))), entries }))
}

pub(super) async fn find(
    client: &ClientWrapper,
    room: &RoomId,
    (author, cmid): (Identity, &Bytes),
    dedup: Dedup,
) -> Result<Option<Found>, Fault> {
    let hashes: Vec<i64> = (0..SALTS).map(|salt| dedup(author, cmid, salt)).collect();
    let statement = client
        .prepare_cached(
            "select e.seq, e.at, e.digest from shaddock_room r
             cross join unnest($2::int8[]) as t (dedup)
             join lateral (select * from shaddock_entry where room = r.id
                           and dedup = t.dedup limit 1) e on true
             where r.name = $1 and e.author = $3 and e.cmid = $4 limit 1",
        )
        .await?;
    let (name, author, cmid) = (room.as_str().as_bytes(), &author.0[..], &cmid[..]);
    let row = client.query_opt(&statement, &[&name, &hashes, &author, &cmid]).await?;
    Ok(row.map(|row| {
        let digest: i64 = row.get(2);
        let (seq, at_ms) = (Seq(raw::unsigned(row.get(0))), raw::unsigned(row.get(1)));
        Found { seq, at_ms, digest: digest.cast_unsigned() }
    }))
}

pub(super) async fn superseded(
    client: &ClientWrapper,
    shard: &ShardId,
) -> Result<Vec<Superseded>, Fault> {
    let statement = client
        .prepare_cached(
            "select r.name, e.author, r.gen, e.seq from shaddock_entry e
             join shaddock_room r on r.id = e.room
             where e.kind = 2 and e.target = $1
                 and e.at > (extract(epoch from now()) * 1000)::int8 - $2
             order by e.at",
        )
        .await?;
    let since = raw::signed(SUPERSEDED_MS);
    let rows = client.query(&statement, &[&shard.as_str().as_bytes(), &since]).await?;
    let found = rows.iter().map(|row| {
        let by: Option<&[u8]> = row.get(1);
        let term = Term(raw::unsigned(row.get(3)));
        Ok(Superseded {
            room: raw::room(row.get(0))?,
            by: by.map(raw::shard).transpose()?,
            fence: Fence { r#gen: Gen(raw::unsigned(row.get(2))), term },
        })
    });
    found.collect()
}

pub(super) async fn rooms(
    client: &ClientWrapper,
    after: Option<&RoomId>,
    limit: usize,
) -> Result<Vec<RoomId>, Fault> {
    let after = after.map_or(&b""[..], |room| room.as_str().as_bytes());
    let list = "select name from shaddock_room where name > $1 order by name limit $2";
    let rows = client.query(list, &[&after, &raw::signed(limit as u64)]).await?;
    rows.iter().map(|row| Ok(raw::room(row.get(0))?)).collect()
}
