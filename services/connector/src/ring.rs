//! The last messages of a room, so that a shard need not send them again to whoever
//! comes back.

use std::{collections::VecDeque, sync::Arc};

use model::{Position, Seq};

use crate::entry::Entry;

/// Most entries that a room keeps.
const ENTRIES_MAX: usize = 64;
/// Most bytes of texts that a room keeps.
const BYTES_MAX: usize = 16 * 1024;

/// Messages for everybody that follow each other without a gap in their numbers: what
/// lies in a gap may be for somebody, which only the room's owner knows.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Ring {
    /// Takes the next entry that the link carried.
    pub(crate) fn push(&mut self, entry: &Arc<Entry>) {
        let follows = self.entries.back().is_none_or(|last| {
            last.epoch == entry.epoch && last.entry.seq.checked_add(1) == Some(entry.entry.seq)
        });
        if !follows {
            self.clear();
        }
        if entry.entry.target != model::TARGET_ALL {
            // Who may see it is not for this process to say.
            return self.clear();
        }
        self.bytes += size(entry);
        self.entries.push_back(Arc::clone(entry));
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(first) = self.entries.pop_front() else { return };
            self.bytes -= size(&first);
        }
    }

    /// The number above which all entries are here; none if the newest is not that at
    /// `mark`.
    pub(crate) fn held_after(&self, mark: Position) -> Option<u64> {
        self.entries
            .back()
            .filter(|last| last.epoch == mark.epoch && last.entry.seq == mark.seq.0)?;
        Some(self.entries.front()?.entry.seq.saturating_sub(1))
    }

    /// All entries above `after` and up to `position`; none if some may be missing.
    pub(crate) fn range(&self, after: Seq, position: Position) -> Option<Vec<Arc<Entry>>> {
        if after >= position.seq {
            return Some(Vec::new());
        }
        self.held_after(position).filter(|held| *held <= after.0)?;
        let above = |entry: &&Arc<Entry>| entry.entry.seq > after.0;
        Some(self.entries.iter().filter(above).cloned().collect())
    }

    /// Forgets the content of an entry.
    pub(crate) fn redact(&mut self, seq: u64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.entry.seq == seq) {
            self.bytes -= size(entry);
            let entry = Arc::make_mut(entry);
            entry.entry.content.clear();
            entry.entry.redacted = true;
            self.bytes += size(entry);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn size(entry: &Entry) -> usize {
    entry.entry.content.len() + entry.entry.author.len() + entry.entry.cmid.len()
}

#[cfg(test)]
mod tests {
    use model::Epoch;
    use rpc::chat::v1 as pb;

    use super::*;

    /// `3` is a message, `3w` a whisper, `3x` one of another log, `3b` one of 8 KiB.
    fn ring(script: &str) -> Ring {
        let mut ring = Ring::default();
        for word in script.split_whitespace() {
            let seq = word.trim_end_matches(char::is_alphabetic).parse().unwrap();
            let kind = word.trim_start_matches(char::is_numeric);
            let entry = pb::Entry {
                seq,
                target: if kind == "w" { "bob".into() } else { "*".into() },
                content: if kind == "b" { "x".repeat(8 * 1024) } else { "x".into() },
                ..pb::Entry::default()
            };
            let epoch = Epoch(if kind == "x" { 2 } else { 1 });
            ring.push(&Arc::new(Entry { epoch, entry }));
        }
        ring
    }

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch: Epoch(epoch), seq: Seq(seq) }
    }

    #[track_caller]
    fn holds(script: &str, after: u64, up_to: u64, expected: Option<&[u64]>) {
        let found = ring(script).range(Seq(after), at(1, up_to));
        let found: Option<Vec<u64>> =
            found.map(|found| found.iter().map(|entry| entry.entry.seq).collect());
        assert_eq!(found.as_deref(), expected, "{script}");
    }

    #[test]
    fn only_what_has_no_gap_is_served() {
        holds("3 4 5", 2, 5, Some(&[3, 4, 5]));
        holds("3 4 5", 4, 5, Some(&[5]));
        holds("3 4 5", 5, 5, Some(&[]));
        holds("3 4 5", 1, 5, None);
        holds("3 5 6", 2, 6, None);
        holds("3 5 6", 4, 6, Some(&[5, 6]));
        // Somebody else's whisper came after what is here.
        holds("3 4 5", 2, 6, None);
        holds("", 2, 5, None);
    }

    #[test]
    fn whispers_and_other_logs_are_gaps() {
        holds("3 4w 5", 2, 5, None);
        holds("3 4w 5", 4, 5, Some(&[5]));
        holds("3 4w", 2, 4, None);
        holds("3 4x 5x", 2, 5, None);
        holds("3x 4", 2, 4, None);
        assert_eq!(ring("3x 4x").held_after(at(2, 4)), Some(2));
        assert_eq!(ring("3 4").held_after(at(2, 4)), None);
    }

    #[test]
    fn it_keeps_no_more_than_it_may() {
        let script: Vec<String> = (1..=100).map(|seq: u64| seq.to_string()).collect();
        assert_eq!(ring(&script.join(" ")).held_after(at(1, 100)), Some(36));
        assert_eq!(ring("1b 2b 3b").held_after(at(1, 3)), Some(1));
        assert_eq!(ring("1 2b 3b").held_after(at(1, 3)), Some(1));
        let mut ring = ring("1b 2 3");
        ring.redact(1);
        assert_eq!(ring.bytes, 2);
        assert!(ring.entries[0].entry.content.is_empty() && ring.entries[0].entry.redacted);
    }
}
