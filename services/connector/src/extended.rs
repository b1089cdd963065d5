//! What extended sessions say and are told beside what plain ones are.

use std::fmt;

use bytes::Bytes;
use model::{Epoch, Identity, Position, SEQ_MAX, Seq};
use ring::digest;
use rpc::chat::v1 as pb;
use serde_json::{Value, json};

use crate::pending::Page;

/// Longest client message id, in bytes of UTF-8.
const CMID_LEN_MAX: usize = 64;
/// Entries on a page of history: when nothing is said, and at most.
const PAGE: (u64, u64) = (50, 200);
/// Most rooms in a list, and as many when nothing is said.
const ROOMS_MAX: u64 = 100;
/// The answer to one who has left.
pub(crate) const LEFT: &[u8] = br#"{"code":200}"#;
/// How long a secret is, in bytes of UTF-8.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 16..=128;

/// What proves, to any connector, that a client is who it was.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Makes one of 128 random bits.
    pub(crate) fn new(random: [u8; 16]) -> Self {
        Self(wire::to_hex(&random))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Who shows this: the first 128 bits of its SHA-256.
    pub(crate) fn identity(&self) -> Identity {
        let hash = digest::digest(&digest::SHA256, self.0.as_bytes());
        let (identity, _) = hash.as_ref().split_first_chunk().expect("it has 32 bytes");
        Identity(*identity)
    }
}

/// Reads the secret that a client shows, if it does.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read_secret(body: &Value) -> Result<Option<Secret>, String> {
    let secret = match body.get("secret") {
        None => return Ok(None),
        Some(Value::String(secret)) => secret,
        Some(_) => return Err("secret: must be text".into()),
    };
    if !SECRET_LEN.contains(&secret.len()) {
        return Err(format!("secret: must have 16 to 128 bytes, not {}", secret.len()));
    }
    Ok(Some(Secret(secret.clone())))
}

/// Reads where a client left off, if it says so.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read_resume(body: &Value) -> Result<Option<Position>, String> {
    let Some(resume) = body.get("resume") else { return Ok(None) };
    let epoch = resume.get("epoch").and_then(Value::as_str);
    let is_hex = |text: &&str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let epoch = epoch.filter(is_hex).and_then(|text| u64::from_str_radix(text, 16).ok());
    let epoch = epoch.ok_or("resume.epoch: must be 16 hex digits")?;
    let seq = read_seq(resume, "seq")?.ok_or("resume.seq: is missing")?;
    Ok(Some(Position { epoch: Epoch(epoch), seq: Seq(seq) }))
}

/// Reads the number of an entry, if there is one.
///
/// # Errors
///
/// What is wrong with it.
fn read_seq(body: &Value, field: &str) -> Result<Option<u64>, String> {
    match body.get(field) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seq @ ..=SEQ_MAX) => Ok(Some(seq)),
            _ => Err(format!("{field}: must be a whole number from 0 to {SEQ_MAX}")),
        },
    }
}

/// Reads which page of history is asked for.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read_page(body: &Value) -> Result<Page, String> {
    let (after, before) = (read_seq(body, "after")?, read_seq(body, "before")?);
    if after.is_some() && before.is_some() {
        return Err("before: not together with after".into());
    }
    let limit = read_limit(body, PAGE.0, PAGE.1)?;
    Ok(Page { after, before, limit })
}

/// Reads how many rooms are asked for.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read_rooms_limit(body: &Value) -> Result<u32, String> {
    read_limit(body, ROOMS_MAX, ROOMS_MAX)
}

fn read_limit(body: &Value, default: u64, max: u64) -> Result<u32, String> {
    let limit = body.get("limit").map_or(Some(default), Value::as_u64);
    let limit = limit.filter(|limit| (1..=max).contains(limit));
    let limit = limit.ok_or_else(|| format!("limit: must be a whole number from 1 to {max}"))?;
    Ok(u32::try_from(limit).expect("it is small"))
}

/// Reads the message id that a client chose, if it did.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read_cmid(body: &Value) -> Result<Option<Bytes>, String> {
    let cmid = match body.get("cmid") {
        None => return Ok(None),
        Some(Value::String(cmid)) => cmid,
        Some(_) => return Err("cmid: must be text".into()),
    };
    if !(1..=CMID_LEN_MAX).contains(&cmid.len()) {
        let len = cmid.len();
        return Err(format!("cmid: must have 1 to {CMID_LEN_MAX} bytes, not {len}"));
    }
    Ok(Some(Bytes::copy_from_slice(cmid.as_bytes())))
}

/// An epoch as clients see it: 16 hex digits.
pub(crate) fn epoch(epoch: u64) -> String {
    format!("{epoch:016x}")
}

/// A position as clients see it.
pub(crate) fn position(position: Position) -> Value {
    json!({ "epoch": epoch(position.epoch.0), "seq": position.seq.0 })
}

/// A client message id as clients see it: text, or the hex digits of what is none.
pub(crate) fn cmid(cmid: &[u8]) -> String {
    std::str::from_utf8(cmid).map_or_else(|_| wire::to_hex(cmid), str::to_owned)
}

/// Tells a client where its message is.
pub(crate) fn published(at: pb::Position, at_ms: u64, id: &[u8]) -> Bytes {
    let body = json!({
        "code": 200, "epoch": epoch(at.epoch), "seq": at.seq, "at": at_ms, "cmid": cmid(id),
    });
    wire::to_json(&body).into()
}

/// A page of history as clients see it: as much of it as fits `bytes_max`, but one
/// entry at least. What is left out is at the end that is read last.
pub(crate) fn history(page: Page, found: &pb::HistoryPage, bytes_max: usize) -> Bytes {
    let mut bytes = 0;
    let mut fits = |entry: &&pb::Entry| {
        let is_first = bytes == 0;
        bytes += pushed_len(entry);
        is_first || bytes <= bytes_max
    };
    let entries: Vec<Value> = if page.after.is_some() {
        found.entries.iter().take_while(&mut fits).map(told).collect()
    } else {
        let kept = found.entries.iter().rev().take_while(&mut fits).count();
        found.entries[found.entries.len() - kept..].iter().map(told).collect()
    };
    let body = json!({
        "code": 200,
        "epoch": epoch(found.epoch),
        "head": found.head,
        "taken": found.taken,
        "complete": found.complete && entries.len() == found.entries.len(),
        "entries": entries,
    });
    wire::to_json(&body).into()
}

/// One entry of a page.
fn told(entry: &pb::Entry) -> Value {
    let mut told = json!({
        "seq": entry.seq,
        "at": entry.at_ms,
        "from": entry.author,
        "target": entry.target,
        "msg": entry.content,
        "cmid": cmid(&entry.cmid),
    });
    if entry.redacted {
        told["redacted"] = true.into();
    }
    told
}

/// Tells a client that somebody else has the name under which it wants to go on.
pub(crate) fn denied() -> Bytes {
    let body = json!({
        "code": 403,
        "error": "the name is held by somebody else",
        "verdict": { "kind": "denied" },
    });
    wire::to_json(&body).into()
}

/// About how many bytes a message takes on its way to an extended session, rather
/// more than less.
pub(crate) fn pushed_len(entry: &pb::Entry) -> usize {
    let escaped = |byte: u8| match byte {
        0x00..=0x1f => 6,
        b'"' | b'\\' => 2,
        // Each character above U+FFFF is written as two escapes.
        0xf0.. => 12,
        _ => 1,
    };
    let texts = [entry.content.as_bytes(), entry.author.as_bytes(), entry.target.as_bytes()];
    let texts: usize = texts.into_iter().flatten().map(|byte| escaped(*byte)).sum();
    texts + 6 * entry.cmid.len() + 192
}
