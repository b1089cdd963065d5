//! What operators ask of a store, whatever it is.

use std::io::{self, Write};

use model::{RoomId, Seq};
use serde_json::json;

use crate::{Export, Head, KNOWN_MS, Keeper, Record, RecordKind, StoreError};

/// Entries, or rooms, that are read at once.
const PAGE: usize = 500;

/// Why a tool did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where the result is written to.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    /// There is no room of that name.
    #[error("there is no room {0}")]
    NoSuchRoom(RoomId),
}

/// Writes a room as lines of JSON: first the room, then each of its entries.
///
/// # Errors
///
/// [`ToolError`].
pub async fn export(
    store: &dyn Keeper,
    room: &RoomId,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    let mut after = Seq(0);
    let mut is_first = true;
    loop {
        let page = store.export(room, after, PAGE).await?;
        let page = page.ok_or_else(|| ToolError::NoSuchRoom(room.clone()))?;
        if std::mem::take(&mut is_first) {
            writeln!(out, "{}", room_line(room, &page))?;
        }
        for record in &page.entries {
            writeln!(out, "{}", entry_line(record))?;
        }
        match page.entries.last() {
            Some(last) => after = last.seq,
            None => break,
        }
    }
    out.flush()?;
    Ok(())
}

/// Numbers that a JavaScript number does not hold are strings.
fn room_line(room: &RoomId, page: &Export) -> serde_json::Value {
    let Head { position, fence } = page.head;
    json!({
        "room": room.as_str(),
        "epoch": position.epoch.0.to_string(),
        "gen": fence.r#gen.0,
        "head": position.seq.0,
        "term": fence.term.0,
        "taken": page.taken.0,
    })
}

fn entry_line(record: &Record) -> serde_json::Value {
    let Record { seq, term, at_ms, kind } = record;
    match kind {
        RecordKind::Claim { by, superseded } => json!({
            "seq": seq.0, "term": term.0, "at": at_ms, "kind": "claim",
            "by": by.as_ref().map(model::ShardId::as_str),
            "superseded": superseded.as_ref().map(model::ShardId::as_str),
        }),
        RecordKind::Said { said, digest } => {
            let body = &said.body;
            let content = (!said.redacted).then_some(&*body.content);
            let target = body.target.as_ref();
            json!({
                "seq": seq.0, "term": term.0, "at": at_ms,
                "kind": if target.is_some() { "whisper" } else { "message" },
                "author": body.author.as_str(),
                "author_identity": hex(&body.author_identity.0),
                "target": target.map(|(name, _)| name.as_str()),
                "target_identity": target.map(|(_, identity)| hex(&identity.0)),
                "cmid": hex(&said.cmid),
                "digest": hex(&digest.to_be_bytes()),
                "content": content,
            })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Gives rooms, or all of them, a new epoch; if all, takes the store as it is now for
/// the one that they are in. Says how many.
///
/// # Errors
///
/// [`ToolError`]. It may be done again from the start.
pub async fn new_epoch(store: &dyn Keeper, rooms: &[RoomId]) -> Result<u64, ToolError> {
    // All or none, should one be misspelt.
    for room in rooms {
        let known = store.export(room, Seq(0), 1).await?;
        known.ok_or_else(|| ToolError::NoSuchRoom(room.clone()))?;
    }
    let mut count = 0;
    for room in rooms {
        count += u64::from(store.new_epoch(room).await?.is_some());
    }
    if !rooms.is_empty() {
        return Ok(count);
    }
    let mut after = None;
    loop {
        let page = store.rooms(after.as_ref(), PAGE).await?;
        for room in &page {
            count += u64::from(store.new_epoch(room).await?.is_some());
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    // Last: until here, whoever serves from it refuses.
    store.adopt().await?;
    Ok(count)
}

/// What a check has seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// Rooms looked at.
    pub rooms: u64,
    /// Entries looked at.
    pub entries: u64,
    /// What is wrong, one line each.
    pub complaints: Vec<String>,
}

/// Looks at every entry: whether each log is dense, each entry under the last claim
/// before it, and each repeated cmid found. `now_ms` is the time.
///
/// # Errors
///
/// What the store says.
pub async fn check(store: &dyn Keeper, now_ms: u64) -> Result<Checked, StoreError> {
    let mut checked = Checked { complaints: store.damage().await?, ..Checked::default() };
    let mut after = None;
    loop {
        let page = store.rooms(after.as_ref(), PAGE).await?;
        for room in &page {
            checked.rooms += 1;
            check_room(store, room, now_ms, &mut checked).await?;
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => return Ok(checked),
        }
    }
}

async fn check_room(
    store: &dyn Keeper,
    room: &RoomId,
    now_ms: u64,
    checked: &mut Checked,
) -> Result<(), StoreError> {
    let mut last: Option<Record> = None;
    let mut complain = |seq: Seq, what: &str| {
        checked.complaints.push(format!("room {room}, entry {}: {what}", seq.0));
    };
    while let Some(page) =
        store.export(room, last.as_ref().map_or(Seq(0), |last| last.seq), PAGE).await?
    {
        if page.entries.is_empty() {
            // Somebody may have written since the head was read.
            if last.as_ref().is_some_and(|last| last.seq < page.head.position.seq) {
                complain(page.head.position.seq, "the newest entry is missing");
            }
            break;
        }
        for record in page.entries {
            checked.entries += 1;
            let before = last.as_ref().map(|last| (last.seq, last.term));
            // At and below what was taken, only some are left.
            let follows = record.seq <= Seq(page.taken.0 + 1)
                || before.map_or(record.seq == Seq(1), |(seq, _)| seq.next() == record.seq)
                || before.is_some_and(|(seq, _)| seq <= page.taken);
            if !follows {
                complain(record.seq, "the entry before it is missing");
            }
            match &record.kind {
                RecordKind::Claim { .. } if record.term.0 != record.seq.0 => {
                    complain(record.seq, "a claim under another term");
                }
                RecordKind::Said { .. }
                    if record.seq > page.taken
                        && before.is_some_and(|(_, term)| term != record.term) =>
                {
                    complain(record.seq, "not under the term of the last claim");
                }
                RecordKind::Said { said, digest } if record.at_ms + KNOWN_MS > now_ms => {
                    let of = (said.body.author_identity, &said.cmid);
                    let found = store.find(room, of.0, of.1).await?;
                    if found.map(|found| (found.seq, found.digest)) != Some((record.seq, *digest)) {
                        complain(record.seq, "is not found by its cmid");
                    }
                }
                _ => {}
            }
            last = Some(record);
        }
    }
    Ok(())
}
