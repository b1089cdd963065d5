//! What extended sessions say and are told beside what plain ones are.

use bytes::Bytes;
use model::Position;
use rpc::chat::v1 as pb;
use serde_json::{Value, json};

/// Longest client message id, in bytes of UTF-8.
pub(crate) const CMID_LEN_MAX: usize = 64;

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
