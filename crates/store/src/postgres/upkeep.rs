//! Redaction and retention.

use deadpool_postgres::{ClientWrapper, Transaction};
use model::{
    RoomId, Seq, Term,
    retention::{self, Facts, Slim},
};

use super::connect::Fault;
use crate::{Cursor, Retained, Retention, raw};

pub(super) async fn redact(client: &ClientWrapper, room: &RoomId, seq: Seq) -> Result<bool, Fault> {
    let empty = "update shaddock_entry e set body = null from shaddock_room r
        where r.name = $1 and e.room = r.id and e.seq = $2 and e.kind < 2 and e.seq > r.taken";
    let changed = client.execute(empty, &[&room.as_str().as_bytes(), &raw::signed(seq.0)]).await?;
    Ok(changed > 0)
}

/// Rooms, and whether there is something to take in each.
const DUE: &str = "
    select r.id, coalesce(
        h.seq > r.taken and (a.at <= n.now - $3 or a.seq <= h.seq - $4)
        or l.seq <= r.taken and l.at <= n.now - $5, false)
    from (select * from shaddock_room where id >= $1 order by id limit $2) r
    cross join (select (extract(epoch from now()) * 1000)::int8 as now) n
    left join lateral (select seq, term from shaddock_entry where room = r.id
                       order by seq desc limit 1) h on true
    left join lateral (select seq, at from shaddock_entry where room = r.id and seq > r.taken
                       and kind < 2 order by seq limit 1) a on true
    left join lateral (select seq, at from shaddock_entry where room = r.id and seq <> h.term
                       order by seq limit 1) l on true
    order by r.id";

pub(super) async fn retain(
    client: &mut ClientWrapper,
    policy: Retention,
    from: Cursor,
    budget: usize,
) -> Result<Retained, Fault> {
    let limit = raw::signed(budget as u64);
    let age_ms = u64::try_from(policy.age.as_millis()).unwrap_or(u64::MAX);
    // No clock is that far.
    let age_ms = raw::signed(age_ms).min(1 << 60);
    let entries = raw::signed(policy.entries);
    let statement = client.prepare_cached(DUE).await?;
    let known_ms = raw::signed(model::retention::known_ms());
    let from = raw::signed(from.0);
    let rooms = client.query(&statement, &[&from, &limit, &age_ms, &entries, &known_ms]).await?;
    let mut retained = Retained::default();
    for row in &rooms {
        let (room, is_due): (i64, bool) = (row.get(0), row.get(1));
        if !is_due {
            continue;
        }
        let transaction = client.transaction().await?;
        let more = retain_room(&transaction, policy, room, budget, &mut retained).await?;
        transaction.commit().await?;
        // One room with something to do is a step.
        let next = if more { room } else { room.saturating_add(1) };
        retained.next = Some(Cursor(raw::unsigned(next)));
        return Ok(retained);
    }
    if rooms.len() == budget {
        let last = rooms.last().map(|row| row.get::<_, i64>(0).saturating_add(1));
        retained.next = last.map(|next| Cursor(raw::unsigned(next)));
    }
    Ok(retained)
}

/// Does one step in one room; says whether there may be more to do in it.
async fn retain_room(
    transaction: &Transaction<'_>,
    policy: Retention,
    room: i64,
    budget: usize,
    retained: &mut Retained,
) -> Result<bool, Fault> {
    let lock = "select taken, (extract(epoch from now()) * 1000)::int8 from shaddock_room
                where id = $1 for update";
    let row = transaction.query_one(lock, &[&room]).await?;
    let (taken, now_ms): (i64, i64) = (row.get(0), row.get(1));
    let tip = "select seq, term from shaddock_entry where room = $1 order by seq desc limit 1";
    let Some(row) = transaction.query_opt(tip, &[&room]).await? else { return Ok(false) };
    let (head, term): (i64, i64) = (row.get(0), row.get(1));
    let facts = Facts {
        now_ms: raw::unsigned(now_ms),
        head: Seq(raw::unsigned(head)),
        claim: Term(raw::unsigned(term)),
        taken: Seq(raw::unsigned(taken)),
    };
    let lowest = slim(transaction, room, 0, term, budget).await?;
    let above = slim(transaction, room, taken, 0, budget).await?;
    let plan = retention::plan(policy, facts, &lowest, &above, budget);
    if plan.is_idle(facts) {
        return Ok(plan.more);
    }
    let delete = "delete from shaddock_entry where room = $1 and seq <= $2 and seq <> $3";
    let delete_to = raw::signed(plan.delete_to.0);
    retained.deleted += transaction.execute(delete, &[&room, &delete_to, &term]).await?;
    let empty = "update shaddock_entry set body = null
        where room = $1 and seq > $2 and seq <= $3 and kind < 2 and body is not null";
    let empty_to = raw::signed(plan.empty_to.0);
    retained.emptied += transaction.execute(empty, &[&room, &taken, &empty_to]).await?;
    let update = "update shaddock_room set taken = $2 where id = $1";
    transaction.execute(update, &[&room, &raw::signed(plan.taken.0)]).await?;
    Ok(plan.more)
}

/// The first rows above a seq, but one.
async fn slim(
    transaction: &Transaction<'_>,
    room: i64,
    after: i64,
    but: i64,
    limit: usize,
) -> Result<Vec<Slim>, Fault> {
    let rows = "select seq, kind, at from shaddock_entry
        where room = $1 and seq > $2 and seq <> $3 order by seq limit $4";
    let rows = transaction.query(rows, &[&room, &after, &but, &raw::signed(limit as u64)]).await?;
    let slim = |row: &tokio_postgres::Row| Slim {
        seq: Seq(raw::unsigned(row.get(0))),
        is_claim: row.get::<_, i16>(1) == raw::CLAIM,
        at_ms: raw::unsigned(row.get(2)),
    };
    Ok(rows.iter().map(slim).collect())
}
