//! Appends: one statement for a batch over many rooms.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::ClientWrapper;
use model::{
    Identity, Seq,
    planted::{self, Bug},
};
use tokio_postgres::{Row, error::SqlState, types::ToSql};

use super::connect::Fault;
use crate::{
    Append, Appended, Dedup, Found,
    raw::{self, Columns},
};

/// Grains of salt that colliding hashes are tried with.
pub(super) const SALTS: u8 = 4;

macro_rules! insert {
    () => {
        "insert into shaddock_entry (room, seq, term, kind, author, author_name, target,
             target_name, cmid, dedup, digest, body, at)
         select i.room, i.seq, i.term, i.kind, i.author, i.author_name, i.target,
             i.target_name, i.cmid, i.dedup, i.digest, i.body,
             (extract(epoch from now()) * 1000)::int8
         from input i "
    };
}

macro_rules! input {
    () => {
        "with input as (
             select * from unnest($1::int8[], $2::int8[], $3::int8[], $4::int2[], $5::bytea[],
                 $6::bytea[], $7::bytea[], $8::bytea[], $9::bytea[], $10::int8[], $11::int8[],
                 $12::bytea[], $13::bool[], $14::int8[])
             as t (room, seq, term, kind, author, author_name, target, target_name, cmid, dedup,
                 digest, body, first, epoch)
         ) "
    };
}

// Lateral, with a limit: one look into the index for each row, whatever is known of the
// table's size when the statement is planned. The epoch, because a log that was set back
// may have another claim at the same seq.
macro_rules! owned {
    () => {
        "join lateral (select 1 from shaddock_entry p
              where p.room = i.room and p.seq = i.seq - 1 and p.term = i.term limit 1) p on true
         join lateral (select 1 from shaddock_room r
              where r.id = i.room and r.epoch = i.epoch limit 1) r on true
         where i.first "
    };
}

macro_rules! firsts {
    () => {
        concat!(
            owned!(),
            "order by i.room, i.seq on conflict (room, seq) do nothing returning room, at"
        )
    };
}

/// One entry for each room, where the one before it is under the appender's term, in its
/// epoch; all or nothing if one of them is there already. A fifth cheaper for the server
/// than [`ONE_STATEMENT`], and most batches of many rooms are such. The lines are in the
/// order of the key, and so joined: two that do the same wait for each other in turn.
const SINGLES: &str = concat!(input!(), insert!(), owned!(), "returning room, at");

/// Each room's first entry, where the one before it is under the appender's term, in its
/// epoch;
/// the rest of the rooms whose first was stored.
const ONE_STATEMENT: &str = concat!(
    input!(),
    ", firsts as (",
    insert!(),
    firsts!(),
    "), rest as (",
    insert!(),
    "join firsts f on f.room = i.room where not i.first order by i.room, i.seq returning 1)
     select room, at from firsts"
);

/// The same for engines that do not insert twice into one table in one statement.
const FIRSTS: &str = concat!(input!(), insert!(), firsts!());
const REST: &str = concat!(
    input!(),
    insert!(),
    "where not i.first and i.room = any($15::int8[]) order by i.room, i.seq"
);

/// One room's append, with what the table needs beside it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// Where it stands in the call.
    pub(super) index: usize,
    pub(super) room: i64,
    pub(super) append: &'a Append,
    /// Grains of salt, one for each entry.
    pub(super) salts: &'a [u8],
}

/// What a store does on a conflict that lets the last writer win: only where that bug
/// is planted.
const OVERWRITE: &str = "on conflict (room, seq) do update set term = excluded.term,
    kind = excluded.kind, author = excluded.author, author_name = excluded.author_name,
    target = excluded.target, target_name = excluded.target_name, cmid = excluded.cmid,
    dedup = excluded.dedup, digest = excluded.digest, body = excluded.body, at = excluded.at";

/// What came of a statement.
pub(super) enum Outcome {
    /// The rooms whose entries are stored, each with the time.
    Stored(HashMap<i64, i64>),
    /// Nothing was stored: something in it is there already.
    Violated,
}

pub(super) async fn store(
    client: &mut ClientWrapper,
    lines: &[Line<'_>],
    dedup: Dedup,
    in_one_statement: bool,
) -> Result<Outcome, Fault> {
    let columns = Arrays::new(lines, dedup);
    if lines.iter().all(|line| line.append.entries.len() == 1)
        // What is there already is no violation to the other statement: it tells more.
        && let stored @ Outcome::Stored(_) = store_singles(client, &columns).await?
    {
        return Ok(stored);
    }
    let mut parameters = columns.parameters();
    let stored = if in_one_statement {
        let statement = if planted::is(Bug::TermNotChecked) {
            client.prepare_cached(&ONE_STATEMENT.replace(" and p.term = i.term", "")).await?
        } else if planted::is(Bug::ConflictOverwritten) {
            let rest = format!("{OVERWRITE} returning 1");
            let firsts = ONE_STATEMENT.replace("on conflict (room, seq) do nothing", OVERWRITE);
            // Prepared before: what is sent late is the statement itself.
            client.prepare_cached(&firsts.replace("returning 1", &rest)).await?
        } else {
            client.prepare_cached(ONE_STATEMENT).await?
        };
        client.query(&statement, &parameters).await
    } else {
        let transaction = client.transaction().await?;
        let statement = transaction.prepare_cached(FIRSTS).await?;
        let stored = transaction.query(&statement, &parameters).await;
        match stored {
            Ok(stored) => {
                let rooms: Vec<i64> = stored.iter().map(|row| row.get(0)).collect();
                parameters.push(&rooms);
                let statement = transaction.prepare_cached(REST).await?;
                match transaction.execute(&statement, &parameters).await {
                    Ok(_) => {
                        transaction.commit().await?;
                        Ok(stored)
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    };
    if planted::is(Bug::EntryRewritten) {
        rewrite(client, lines).await?;
    }
    outcome(stored)
}

async fn store_singles(client: &ClientWrapper, columns: &Arrays<'_>) -> Result<Outcome, Fault> {
    let statement = if planted::is(Bug::TermNotChecked) {
        client.prepare_cached(&SINGLES.replace(" and p.term = i.term", "")).await?
    } else if planted::is(Bug::ConflictOverwritten) || planted::is(Bug::EntryRewritten) {
        return Ok(Outcome::Violated);
    } else {
        client.prepare_cached(SINGLES).await?
    };
    outcome(client.query(&statement, &columns.parameters()).await)
}

fn outcome(stored: Result<Vec<Row>, tokio_postgres::Error>) -> Result<Outcome, Fault> {
    match stored {
        Ok(rows) => Ok(Outcome::Stored(rows.iter().map(|row| (row.get(0), row.get(1))).collect())),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(Outcome::Violated),
        Err(error) => Err(error.into()),
    }
}

/// Changes what is there already: only where that bug is planted.
async fn rewrite(client: &ClientWrapper, lines: &[Line<'_>]) -> Result<(), Fault> {
    for line in lines {
        let update = "update shaddock_entry set body = body || 'x'::bytea
            where room = $1 and seq = $2 and kind < 2";
        client.execute(update, &[&line.room, &raw::signed(line.append.after.0)]).await?;
    }
    Ok(())
}

/// The columns of all entries.
#[derive(Default)]
struct Arrays<'a> {
    room: Vec<i64>,
    seq: Vec<i64>,
    term: Vec<i64>,
    kind: Vec<i16>,
    author: Vec<&'a [u8]>,
    author_name: Vec<&'a [u8]>,
    target: Vec<Option<&'a [u8]>>,
    target_name: Vec<Option<&'a [u8]>>,
    cmid: Vec<&'a [u8]>,
    dedup: Vec<i64>,
    digest: Vec<i64>,
    body: Vec<&'a [u8]>,
    first: Vec<bool>,
    epoch: Vec<i64>,
}

impl<'a> Arrays<'a> {
    fn new(lines: &[Line<'a>], dedup: Dedup) -> Self {
        let mut all = Self::default();
        for line in lines {
            let seqs = line.append.after.0 + 1..;
            for ((seq, draft), salt) in seqs.zip(&line.append.entries).zip(line.salts) {
                if planted::is(Bug::HoleInLog) && seq == line.append.after.0 + 2 {
                    continue;
                }
                let row = Columns::from(draft);
                all.room.push(line.room);
                all.seq.push(raw::signed(seq));
                // Not the last one: it says where the last claim is.
                let is_before = seq < line.append.after.0 + line.append.entries.len() as u64;
                let wrong = u64::from(planted::is(Bug::TermNotChecked) && is_before);
                all.term.push(raw::signed(line.append.term.0 - wrong));
                all.kind.push(row.kind);
                all.author.push(row.author);
                all.author_name.push(row.author_name);
                all.target.push(row.target);
                all.target_name.push(row.target_name);
                all.cmid.push(row.cmid);
                all.dedup.push(dedup(draft.body.author_identity, &draft.cmid, *salt));
                all.digest.push(row.digest);
                all.body.push(row.body);
                all.first.push(seq == line.append.after.0 + 1);
                all.epoch.push(line.append.epoch.0.cast_signed());
            }
        }
        all
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![
            &self.room,
            &self.seq,
            &self.term,
            &self.kind,
            &self.author,
            &self.author_name,
            &self.target,
            &self.target_name,
            &self.cmid,
            &self.dedup,
            &self.digest,
            &self.body,
            &self.first,
            &self.epoch,
        ]
    }
}

/// Rows with the hashes of a batch: who is to blame for a violation.
pub(super) struct Taken {
    rows: HashMap<(i64, i64), Held>,
}

struct Held {
    author: Vec<u8>,
    cmid: Vec<u8>,
    found: Found,
}

/// What is to be done with one room's append after a violation.
pub(super) enum Blame {
    None,
    Ended(Appended),
    /// Another (author, cmid) has the hash: with more salt, alone.
    Salted(Vec<u8>),
}

impl Taken {
    pub(super) async fn read(
        client: &ClientWrapper,
        lines: &[Line<'_>],
        dedup: Dedup,
    ) -> Result<Self, Fault> {
        let (mut rooms, mut hashes) = (Vec::new(), Vec::new());
        for line in lines {
            for draft in &line.append.entries {
                for salt in 0..SALTS {
                    rooms.push(line.room);
                    hashes.push(dedup(draft.body.author_identity, &draft.cmid, salt));
                }
            }
        }
        let statement = client
            .prepare_cached(
                "select e.room, e.dedup, e.author, e.cmid, e.seq, e.at, e.digest
                 from unnest($1::int8[], $2::int8[]) as t (room, dedup)
                 join lateral (select * from shaddock_entry where room = t.room
                               and dedup = t.dedup limit 1) e on true",
            )
            .await?;
        let rows = client.query(&statement, &[&rooms, &hashes]).await?;
        let row = |row: &Row| {
            let digest: i64 = row.get(6);
            let found = Found {
                seq: Seq(raw::unsigned(row.get(4))),
                at_ms: raw::unsigned(row.get(5)),
                digest: digest.cast_unsigned(),
            };
            ((row.get(0), row.get(1)), Held { author: row.get(2), cmid: row.get(3), found })
        };
        Ok(Self { rows: rows.iter().map(row).collect() })
    }

    fn find(&self, room: i64, author: Identity, cmid: &[u8], dedup: Dedup) -> Option<Found> {
        let rows = (0..SALTS).filter_map(|salt| self.rows.get(&(room, dedup(author, cmid, salt))));
        let mut same = rows.filter(|row| row.author == author.0 && row.cmid == cmid);
        same.next().map(|row| row.found)
    }

    pub(super) fn blame(&self, line: &Line<'_>, dedup: Dedup) -> Blame {
        let drafts = || line.append.entries.iter().enumerate();
        let duplicates = drafts().filter_map(|(index, draft)| {
            let found = self.find(line.room, draft.body.author_identity, &draft.cmid, dedup)?;
            Some((index, found))
        });
        let duplicates: Vec<_> = duplicates.collect();
        if !duplicates.is_empty() {
            return Blame::Ended(Appended::Duplicates(duplicates));
        }
        if let Some(twice) = crate::twice(line.append) {
            return Blame::Ended(twice);
        }
        let mut taken = HashSet::new();
        let mut salts = Vec::new();
        for (_, draft) in drafts() {
            let free = (0..SALTS).find(|salt| {
                let hash = dedup(draft.body.author_identity, &draft.cmid, *salt);
                !self.rows.contains_key(&(line.room, hash)) && taken.insert(hash)
            });
            salts.push(free.unwrap_or(SALTS - 1));
        }
        if salts == line.salts { Blame::None } else { Blame::Salted(salts) }
    }
}
