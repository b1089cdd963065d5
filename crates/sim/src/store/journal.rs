//! All that was ever stored, whatever retention took since.

use std::{collections::BTreeMap, time::Duration};

use model::{RoomId, Seq};
use store::{Head, Keeper, Memory, Record, RecordKind};
use verify::record::{Entry, Event};

use super::done;

/// Entries that one look takes.
const PAGE: usize = 1000;

/// The logs of all rooms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal(pub BTreeMap<RoomId, RoomLog>);

/// The log of one room.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoomLog {
    /// The newest entry.
    pub head: Option<Head>,
    /// Up to where retention took entries.
    pub taken: u64,
    /// Every entry, with the time at which it was stored.
    pub entries: Vec<(Duration, Record)>,
}

impl Journal {
    /// Notes what is new in a room.
    pub(super) fn follow(&mut self, log: &Memory, room: &RoomId, now: Duration) {
        let known = self.0.entry(room.clone()).or_default();
        loop {
            let after = known.entries.last().map_or(Seq(0), |(_, record)| record.seq);
            let Some(export) = done(log.export(room, after, PAGE)) else { return };
            (known.head, known.taken) = (Some(export.head), export.taken.0);
            if export.entries.is_empty() {
                return;
            }
            known.entries.extend(export.entries.into_iter().map(|record| (now, record)));
        }
    }

    /// Notes how the rooms are at the end.
    pub(super) fn close(&mut self, log: &Memory) {
        for (room, known) in &mut self.0 {
            if let Some(export) = done(log.export(room, Seq(u64::MAX), 1)) {
                (known.head, known.taken) = (Some(export.head), export.taken.0);
            }
        }
    }

    /// As the end of a record.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (room, log) in &self.0 {
            let Some(head) = log.head else { continue };
            events.push(Event::Log {
                room: room.to_string(),
                epoch: format!("{:016x}", head.position.epoch.0),
                head: head.position.seq.0,
                taken: log.taken,
            });
            for (_, record) in &log.entries {
                events.push(Event::Logged { room: room.to_string(), entry: entry(record) });
            }
        }
        events
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(record: &Record) -> Entry {
    let (seq, term) = (record.seq.0, record.term.0);
    match &record.kind {
        RecordKind::Claim { .. } => Entry { seq, term, kind: "claim".into(), ..Entry::default() },
        RecordKind::Said { said, .. } => {
            let kind = if said.body.target.is_some() { "whisper" } else { "message" };
            let target = said.body.target.as_ref();
            Entry {
                seq,
                term,
                kind: kind.into(),
                author: Some(said.body.author.to_string()),
                author_identity: Some(hex(&said.body.author_identity.0)),
                target: target.map(|(name, _)| name.to_string()),
                target_identity: target.map(|(_, identity)| hex(&identity.0)),
                cmid: Some(hex(&said.cmid)),
                content: Some(said.body.content.to_string()),
                ..Entry::default()
            }
        }
    }
}
