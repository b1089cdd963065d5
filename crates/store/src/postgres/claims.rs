//! Claims and epochs.

use std::{collections::HashMap, sync::Arc};

use deadpool_postgres::{ClientWrapper, Transaction};
use model::{Epoch, Fence, Gen, RoomId, Term};

use super::connect::Fault;
use crate::{
    Claim, Claimed,
    raw::{self, shard},
};

/// Draws the names of epochs.
pub(super) type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The rooms of some names, each with its id, gen and the term of its last claim.
const KNOWN: &str = "
    select r.name, r.id, r.gen, coalesce(h.term, 0) from shaddock_room r
    left join lateral (select term from shaddock_entry where room = r.id
                       order by seq desc limit 1) h on true
    where r.name = any($1::bytea[])";

const OPEN: &str = "
    insert into shaddock_room (name, epoch, gen)
    select t.name, t.epoch, greatest(t.gen, (extract(epoch from now()) * 1000)::int8)
    from unnest($1::bytea[], $2::int8[], $3::int8[]) as t (name, epoch, gen)
    order by t.name
    on conflict (name) do nothing";

/// Computes the newest seq itself, so that it wins against a busy writer.
const CLAIM: &str = "
    with tip as (
        select i.room, i.shard, coalesce(h.seq, 0) + 1 as seq,
            (select c.author from shaddock_entry c
             where c.room = i.room and c.seq = h.term) as owner
        from unnest($1::int8[], $2::bytea[]) as i (room, shard)
        left join lateral (select seq, term from shaddock_entry where room = i.room
                           order by seq desc limit 1) h on true
    ), made as (
        insert into shaddock_entry (room, seq, term, kind, author, target, at)
        select room, seq, seq, 2, shard, nullif(owner, shard),
            (extract(epoch from now()) * 1000)::int8
        from tip order by room
        on conflict (room, seq) do nothing returning room, seq, target
    )
    select m.room, m.seq, m.target, r.epoch, r.gen
    from made m join shaddock_room r on r.id = m.room";

/// A room that may be claimed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) id: i64,
    fence: Fence,
    /// False while no claim of it was ever committed.
    is_open: bool,
}

/// Finds the rooms that are claimed, and makes those that are new.
pub(super) async fn open(
    client: &ClientWrapper,
    claims: &[Claim],
    random: &Random,
) -> Result<HashMap<RoomId, Room>, Fault> {
    let mut rooms = known(client, claims).await?;
    let mut new: Vec<&Claim> = claims.iter().filter(|c| !rooms.contains_key(&c.room)).collect();
    if new.is_empty() {
        return Ok(rooms);
    }
    // Of one room the one that has seen most.
    new.sort_by_key(|claim| std::cmp::Reverse(claim.seen));
    let names: Vec<&[u8]> = new.iter().map(|claim| claim.room.as_str().as_bytes()).collect();
    let epochs: Vec<i64> = new.iter().map(|_| random().cast_signed()).collect();
    let gens: Vec<i64> =
        new.iter().map(|claim| raw::signed(claim.seen.r#gen.0.saturating_add(1))).collect();
    let statement = client.prepare_cached(OPEN).await?;
    client.execute(&statement, &[&names, &epochs, &gens]).await?;
    rooms = known(client, claims).await?;
    Ok(rooms)
}

async fn known(client: &ClientWrapper, claims: &[Claim]) -> Result<HashMap<RoomId, Room>, Fault> {
    let names: Vec<&[u8]> = claims.iter().map(|claim| claim.room.as_str().as_bytes()).collect();
    let statement = client.prepare_cached(KNOWN).await?;
    let mut rooms = HashMap::new();
    for row in client.query(&statement, &[&names]).await? {
        let term = Term(raw::unsigned(row.get(3)));
        let fence = Fence { r#gen: Gen(raw::unsigned(row.get(2))), term };
        let room = Room { id: row.get(1), fence, is_open: term > Term(0) };
        rooms.insert(raw::room(row.get(0))?, room);
    }
    Ok(rooms)
}

/// Gives those rooms a new epoch of which somebody has seen more than is here.
pub(super) async fn renew_lost(
    client: &mut ClientWrapper,
    claims: &[Claim],
    rooms: &HashMap<RoomId, Room>,
    random: &Random,
) -> Result<(), Fault> {
    for claim in claims {
        let Some(room) = rooms.get(&claim.room) else { continue };
        if room.is_open && room.fence < claim.seen {
            let transaction = client.transaction().await?;
            renew(&transaction, room.id, claim.seen.r#gen, random).await?;
            transaction.commit().await?;
        }
    }
    Ok(())
}

/// Claims rooms, each once; those that are not in the answer were claimed or written
/// by somebody else meanwhile.
pub(super) async fn claim(
    client: &ClientWrapper,
    claims: &[(i64, &Claim)],
) -> Result<HashMap<i64, Claimed>, Fault> {
    let rooms: Vec<i64> = claims.iter().map(|(room, _)| *room).collect();
    let shards: Vec<&[u8]> =
        claims.iter().map(|(_, claim)| claim.shard.as_str().as_bytes()).collect();
    let statement = client.prepare_cached(CLAIM).await?;
    let rows = client.query(&statement, &[&rooms, &shards]).await?;
    rows.iter().map(|row| Ok((row.get(0), claimed(row)?))).collect()
}

/// room, seq, target, epoch, gen.
fn claimed(row: &tokio_postgres::Row) -> Result<Claimed, Fault> {
    let superseded: Option<&[u8]> = row.get(2);
    let epoch: i64 = row.get(3);
    Ok(Claimed {
        epoch: Epoch(epoch.cast_unsigned()),
        r#gen: Gen(raw::unsigned(row.get(4))),
        term: Term(raw::unsigned(row.get(1))),
        superseded: superseded.map(shard).transpose()?,
    })
}

/// Starts a new incarnation above its own and `above`; locks the room.
async fn renew(
    transaction: &Transaction<'_>,
    room: i64,
    above: Gen,
    random: &Random,
) -> Result<(), Fault> {
    let (epoch, above) = (random().cast_signed(), raw::signed(above.0.saturating_add(1)));
    let update = "update shaddock_room set epoch = $2,
            gen = greatest(gen + 1, $3, (extract(epoch from now()) * 1000)::int8)
        where id = $1";
    transaction.execute(update, &[&room, &epoch, &above]).await?;
    Ok(())
}

/// Gives a room a new epoch and a claim by nobody, or finds that it is not there.
pub(super) async fn new_epoch(
    client: &mut ClientWrapper,
    room: &RoomId,
    random: &Random,
) -> Result<Option<Claimed>, Fault> {
    let id = "select id from shaddock_room where name = $1";
    let Some(id) = client.query_opt(id, &[&room.as_str().as_bytes()]).await? else {
        return Ok(None);
    };
    let id: i64 = id.get(0);
    loop {
        let transaction = client.transaction().await?;
        renew(&transaction, id, Gen(0), random).await?;
        let nobody: [Option<&[u8]>; 1] = [None];
        let rows = transaction.query(CLAIM, &[&[id].as_slice(), &nobody.as_slice()]).await?;
        if rows.is_empty() {
            // Somebody wrote in between: again, above it.
            transaction.rollback().await?;
            continue;
        }
        transaction.commit().await?;
        // The statement saw the room as this transaction left it.
        return Ok(Some(claimed(&rows[0])?));
    }
}
