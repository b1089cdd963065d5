//! A log in PostgreSQL, or in an engine that speaks its language: plain statements,
//! one for a batch over many rooms, each committed by itself.
//!
//! The table is its own fence: see the [crate]. Nothing is locked, and no row is
//! written but those that are new; a room's row is updated for a new epoch and by
//! retention only.

mod append;
mod claims;
mod connect;
mod reads;
mod schema;
mod upkeep;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Mutex,
};

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_postgres::Pool;
use model::{Identity, RoomId, Seq, ShardId};
use tokio::time::{Instant, timeout_at};

use crate::{
    Append, Appended, Claim, Claimed, Cursor, Dedup, Export, Found, Head, Keeper, OpenError, Page,
    Purpose, Range, Retained, Retention, Store, StoreError, Superseded,
};
use append::{Blame, Line, Outcome, Taken};
use claims::Random;
pub use connect::PostgresOptions;
use connect::{Ended, Kind, Lease, TIMEOUT};

/// Rooms whose id is remembered.
const ROOMS_MAX: usize = 1_000_000;
/// How often a statement is repeated that others were in the way of.
const ATTEMPTS: usize = 5;

/// The log that all shards share, in a database.
pub struct Postgres {
    pool: Pool,
    random: Random,
    dedup: Dedup,
    in_one_statement: bool,
    /// Ids are never used again, so these stay true.
    ids: Mutex<HashMap<RoomId, i64>>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("pool", &self.pool.status()).finish_non_exhaustive()
    }
}

/// Does something on a connection, again if others were in the way.
macro_rules! on {
    ($self:expr, $kind:expr, $client:ident => $work:expr) => {{
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let mut lease = Lease::take(&$self.pool, deadline).await?;
            let done = {
                let $client = &mut lease.client;
                timeout_at(deadline, $work).await
            };
            match lease.end(done, $kind) {
                Ok(value) => break Ok(value),
                Err(Ended::Again(error)) if Instant::now() >= deadline => break Err(error),
                Err(Ended::Again(_)) => {}
                Err(Ended::Failed(error)) => break Err(error),
            }
        }
    }};
}

impl Postgres {
    /// Connects, and makes or migrates the tables if it is to serve. `random` draws
    /// the names of epochs; the clock is the database's.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(
        options: &PostgresOptions,
        purpose: Purpose,
        random: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let serves = purpose == Purpose::Serve;
        let unchecked = options.pool(false)?;
        let prepared = tokio::time::timeout(TIMEOUT * 5, schema::prepare(&unchecked, serves)).await;
        let late = |_| OpenError::Unreachable("no answer of the database in time".to_owned());
        prepared.map_err(late)??;
        let client = unchecked.get().await.map_err(|error| connect::of_opening(&error))?;
        let version: String = client
            .query_one("select version()", &[])
            .await
            .map_err(|error| connect::of_sql(&error))?
            .get(0);
        drop(client);
        Ok(Self {
            // An operator's tools work on a store that was restored, too.
            pool: if serves { options.pool(true)? } else { unchecked },
            random: std::sync::Arc::new(random),
            dedup: crate::dedup,
            in_one_statement: !version.starts_with("CockroachDB"),
            ids: Mutex::default(),
        })
    }

    /// For tests: another hash of cmids, and statements as for engines that do not
    /// insert twice into one table at once.
    #[doc(hidden)]
    #[must_use]
    pub fn with(mut self, dedup: fn(Identity, &[u8], u8) -> i64, in_one_statement: bool) -> Self {
        self.dedup = dedup;
        self.in_one_statement = in_one_statement;
        self
    }

    fn remember(&self, new: impl IntoIterator<Item = (RoomId, i64)>) {
        let mut ids = self.ids.lock().expect("ids");
        if ids.len() >= ROOMS_MAX {
            ids.clear();
        }
        ids.extend(new);
    }

    /// The ids of the rooms of a batch; `None` for one that was never opened.
    async fn ids(&self, appends: &[Append]) -> Result<Vec<Option<i64>>, StoreError> {
        let look = |room: &RoomId| self.ids.lock().expect("ids").get(room).copied();
        let known: Vec<_> = appends.iter().map(|append| look(&append.room)).collect();
        let unknown = appends.iter().zip(&known).filter(|(_, id)| id.is_none());
        let names: Vec<&[u8]> =
            unknown.map(|(append, _)| append.room.as_str().as_bytes()).collect();
        if names.is_empty() {
            return Ok(known);
        }
        let query = "select name, id from shaddock_room where name = any($1::bytea[])";
        // Nothing is written yet.
        let rows = on!(self, Kind::Reads, client => async {
            Ok(client.query(query, &[&names]).await?)
        })?;
        let found = rows
            .iter()
            .filter_map(|row| Some((crate::raw::room(row.get(0)).ok()?, row.get::<_, i64>(1))));
        self.remember(found);
        Ok(appends.iter().map(|append| look(&append.room)).collect())
    }

    /// Stores lines in one statement; who is to blame for a violation is taken out,
    /// and the others go at once again. Answers all but those to be salted.
    async fn append_lines(
        &self,
        mut lines: Vec<Line<'_>>,
        ends: &mut [Option<Appended>],
        salted: &mut Vec<(usize, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        for attempt in 0.. {
            if lines.is_empty() {
                return Ok(());
            }
            let outcome = on!(self, Kind::Writes, client =>
                append::store(client, &lines, self.dedup, self.in_one_statement))?;
            if let Outcome::Stored(stored) = outcome {
                for line in lines {
                    let at = stored.get(&line.room);
                    ends[line.index] = Some(at.map_or(Appended::Superseded, |at| {
                        Appended::Stored { at_ms: crate::raw::unsigned(*at) }
                    }));
                }
                return Ok(());
            }
            let taken = on!(self, Kind::Reads, client => Taken::read(client, &lines, self.dedup))?;
            let before = lines.len();
            lines.retain(|line| match taken.blame(line, self.dedup) {
                Blame::None => true,
                Blame::Ended(end) => {
                    ends[line.index] = Some(end);
                    false
                }
                Blame::Salted(salts) => {
                    salted.push((line.index, salts));
                    false
                }
            });
            if lines.len() == before && (before == 1 || attempt >= ATTEMPTS) {
                // What is violated is not a cmid: a log that goes on elsewhere.
                for line in lines {
                    ends[line.index] = Some(Appended::Superseded);
                }
                return Ok(());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Postgres {
    fn is_volatile(&self) -> bool {
        false
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let rooms = on!(self, Kind::Writes, client => claims::open(client, claims, &self.random))?;
        on!(self, Kind::Writes, client =>
            claims::renew_lost(client, claims, &rooms, &self.random))?;
        self.remember(rooms.iter().map(|(name, room)| (name.clone(), room.id)));
        let mut ends: Vec<Option<Claimed>> = vec![None; claims.len()];
        let deadline = Instant::now() + TIMEOUT;
        while ends.iter().any(Option::is_none) {
            if Instant::now() >= deadline {
                return Err(StoreError::Unreachable("others claim the same rooms".to_owned()));
            }
            let mut in_this = HashSet::new();
            let mut batch = Vec::new();
            for (index, claim) in claims.iter().enumerate() {
                let Some(room) = rooms.get(&claim.room) else {
                    return Err(StoreError::Unreachable("a room was not made".to_owned()));
                };
                if ends[index].is_none() && in_this.insert(room.id) {
                    batch.push((index, (room.id, claim)));
                }
            }
            let pairs: Vec<(i64, &Claim)> = batch.iter().map(|(_, pair)| *pair).collect();
            let mut made = on!(self, Kind::Writes, client => claims::claim(client, &pairs))?;
            for (index, (room, _)) in batch {
                ends[index] = made.remove(&room);
            }
        }
        Ok(ends.into_iter().flatten().collect())
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let ids = self.ids(appends).await?;
        let mut ends: Vec<Option<Appended>> = vec![None; appends.len()];
        let plain: Vec<Vec<u8>> = appends.iter().map(|a| vec![0; a.entries.len()]).collect();
        let mut lines = Vec::new();
        for (index, (append, room)) in appends.iter().zip(ids).enumerate() {
            match room {
                Some(room) => lines.push(Line { index, room, append, salts: &plain[index] }),
                None => ends[index] = Some(Appended::Superseded),
            }
        }
        // In the order of the key, whatever the caller's.
        lines.sort_by_key(|line| line.room);
        let all = lines.clone();
        let mut salted = Vec::new();
        self.append_lines(lines, &mut ends, &mut salted).await?;
        // The guilty go alone, and fail alone.
        for _ in 0..ATTEMPTS {
            for (index, salts) in std::mem::take(&mut salted) {
                let Some(line) = all.iter().find(|line| line.index == index) else { continue };
                let alone = vec![Line { salts: &salts, ..*line }];
                if let Err(error) = self.append_lines(alone, &mut ends, &mut salted).await {
                    ends[index] = Some(Appended::Failed(error));
                }
            }
        }
        let crowded = || {
            let why = "too many cmids have one hash".to_owned();
            Appended::Failed(StoreError::Unreachable(why))
        };
        Ok(ends.into_iter().map(|end| end.unwrap_or_else(crowded)).collect())
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError> {
        on!(self, Kind::Reads, client => reads::heads(client, rooms))
    }

    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, StoreError> {
        on!(self, Kind::Reads, client => reads::superseded(client, shard))
    }

    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError> {
        on!(self, Kind::Reads, client => reads::page(client, room, range, limit))
    }

    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError> {
        on!(self, Kind::Reads, client => reads::find(client, room, (author, cmid), self.dedup))
    }

    async fn redact(&self, room: &RoomId, seq: Seq) -> Result<bool, StoreError> {
        on!(self, Kind::Writes, client => upkeep::redact(client, room, seq))
    }

    async fn release(&self, room: &RoomId) {
        self.ids.lock().expect("ids").remove(room);
    }
}

#[async_trait]
impl Keeper for Postgres {
    async fn retain(
        &self,
        policy: Retention,
        from: Cursor,
        budget: usize,
    ) -> Result<Retained, StoreError> {
        on!(self, Kind::Writes, client => upkeep::retain(client, policy, from, budget))
    }

    async fn rooms(&self, after: Option<&RoomId>, limit: usize) -> Result<Vec<RoomId>, StoreError> {
        on!(self, Kind::Reads, client => reads::rooms(client, after, limit))
    }

    async fn export(
        &self,
        room: &RoomId,
        after: Seq,
        limit: usize,
    ) -> Result<Option<Export>, StoreError> {
        on!(self, Kind::Reads, client => reads::export(client, room, after, limit))
    }

    async fn new_epoch(&self, room: &RoomId) -> Result<Option<Claimed>, StoreError> {
        on!(self, Kind::Writes, client => claims::new_epoch(client, room, &self.random))
    }

    async fn adopt(&self) -> Result<(), StoreError> {
        on!(self, Kind::Writes, client => async { Ok(schema::adopt(client).await?) })
    }

    async fn damage(&self) -> Result<Vec<String>, StoreError> {
        // The database looks after its own pages.
        Ok(Vec::new())
    }
}
