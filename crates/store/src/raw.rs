//! A row of the log's table, before it is understood: the same for all stores with
//! tables.

use std::sync::Arc;

use bytes::Bytes;
use model::{Identity, RoomId, Seq, ShardId, Term, UserName};

use crate::{Body, Draft, Record, RecordKind, Row, Said};

pub(crate) const MESSAGE: i16 = 0;
pub(crate) const WHISPER: i16 = 1;
pub(crate) const CLAIM: i16 = 2;

/// The columns of an entry. Of a claim, `author` is the shard and `target` the one
/// that it supersedes.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) seq: i64,
    pub(crate) term: i64,
    pub(crate) kind: i16,
    pub(crate) at_ms: i64,
    pub(crate) author: Option<Vec<u8>>,
    pub(crate) author_name: Option<Vec<u8>>,
    pub(crate) target: Option<Vec<u8>>,
    pub(crate) target_name: Option<Vec<u8>>,
    pub(crate) cmid: Option<Vec<u8>>,
    pub(crate) digest: Option<i64>,
    pub(crate) body: Option<Vec<u8>>,
}

/// A row that no version of this program wrote.
#[derive(Debug, thiserror::Error)]
#[error("entry {0} is damaged")]
pub(crate) struct Damaged(i64);

impl Raw {
    pub(crate) fn record(self) -> Result<Record, Damaged> {
        let (seq, term, at_ms) = (self.seq, self.term, self.at_ms);
        let kind = self.kind().ok_or(Damaged(seq))?;
        Ok(Record {
            seq: Seq(unsigned(seq)),
            term: Term(unsigned(term)),
            at_ms: unsigned(at_ms),
            kind,
        })
    }

    pub(crate) fn row(self) -> Result<Row, Damaged> {
        let Record { seq, at_ms, kind, .. } = self.record()?;
        let said = match kind {
            RecordKind::Claim { .. } => None,
            RecordKind::Said { said, .. } => Some(said),
        };
        Ok(Row { seq, at_ms, said })
    }

    fn kind(self) -> Option<RecordKind> {
        if self.kind == CLAIM {
            let shard = |bytes: Option<Vec<u8>>| bytes.map(|bytes| shard(&bytes)).transpose();
            let (by, superseded) = (shard(self.author).ok()?, shard(self.target).ok()?);
            return Some(RecordKind::Claim { by, superseded });
        }
        let target = match self.kind {
            MESSAGE => None,
            WHISPER => Some((name(&self.target_name?)?, identity(&self.target?)?)),
            _ => return None,
        };
        let redacted = self.body.is_none();
        let body = Body {
            author: name(&self.author_name?)?,
            author_identity: identity(&self.author?)?,
            target,
            content: Arc::from(text(&self.body.unwrap_or_default())?),
        };
        let said = Said { body, cmid: Bytes::from(self.cmid?), redacted };
        Some(RecordKind::Said { said, digest: self.digest?.cast_unsigned() })
    }
}

/// What is written of a draft, in the order of the columns.
pub(crate) struct Columns<'a> {
    pub(crate) kind: i16,
    pub(crate) author: &'a [u8],
    pub(crate) author_name: &'a [u8],
    pub(crate) target: Option<&'a [u8]>,
    pub(crate) target_name: Option<&'a [u8]>,
    pub(crate) cmid: &'a [u8],
    pub(crate) digest: i64,
    pub(crate) body: &'a [u8],
}

impl<'a> From<&'a Draft> for Columns<'a> {
    fn from(draft: &'a Draft) -> Self {
        let target = draft.body.target.as_ref();
        Self {
            kind: if target.is_some() { WHISPER } else { MESSAGE },
            author: &draft.body.author_identity.0,
            author_name: draft.body.author.as_str().as_bytes(),
            target: target.map(|(_, identity)| &identity.0[..]),
            target_name: target.map(|(name, _)| name.as_str().as_bytes()),
            cmid: &draft.cmid,
            digest: draft.digest.cast_signed(),
            body: draft.body.content.as_bytes(),
        }
    }
}

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn room(bytes: &[u8]) -> Result<RoomId, Damaged> {
    text(bytes).and_then(|text| RoomId::parse(text).ok()).ok_or(Damaged(0))
}

pub(crate) fn shard(bytes: &[u8]) -> Result<ShardId, Damaged> {
    text(bytes).and_then(|text| text.parse().ok()).ok_or(Damaged(0))
}

fn name(bytes: &[u8]) -> Option<UserName> {
    UserName::parse(text(bytes)?).ok()
}

fn identity(bytes: &[u8]) -> Option<Identity> {
    Some(Identity(bytes.try_into().ok()?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
