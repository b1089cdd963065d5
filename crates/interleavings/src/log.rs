//! One room's log, as the store's tables have it.

use std::fmt;

use model::{
    Fence, Gen, Seq, Term,
    retention::{self, Facts, KNOWN_MS, Retention, Slim},
};

use crate::{Guard, Message};

/// The row of the room and the rows of its entries.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Log {
    pub(crate) room: Option<RoomRow>,
    /// In order of seq.
    rows: Vec<Row>,
    /// What was at some place and was deleted, or was lost in a restore: nothing else
    /// may ever be there.
    gone: Vec<Row>,
    /// True while the store is a copy of the one that was used, and no operator has said
    /// `store new-epoch`.
    pub(crate) restored: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct RoomRow {
    pub(crate) epoch: u64,
    pub(crate) r#gen: u64,
    pub(crate) taken: u64,
}

/// One entry.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Row {
    pub(crate) seq: u64,
    pub(crate) term: u64,
    /// The epoch in which it was stored.
    pub(crate) epoch: u64,
    pub(crate) what: What,
    /// True once it is older than repeated cmids have to be known.
    pub(crate) is_old: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum What {
    /// By a shard, or by nobody.
    Claim(Option<u8>),
    Said(Message),
}

impl What {
    pub(crate) fn is_claim(self) -> bool {
        matches!(self, Self::Claim(_))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(Some(shard)) => write!(f, "a claim of shard {shard}"),
            Self::Claim(None) => f.write_str("a new epoch's claim"),
            Self::Said(message) => write!(f, "{message}"),
        }
    }
}

impl Log {
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn at(&self, seq: u64) -> Option<&Row> {
        self.rows.iter().find(|row| row.seq == seq)
    }

    /// The newest seq; 0 for none.
    pub(crate) fn head(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.seq)
    }

    /// The last claim, as the newest row has it.
    pub(crate) fn fence(&self) -> Option<Fence> {
        let (room, newest) = (self.room?, self.rows.last()?);
        Some(Fence { r#gen: Gen(room.r#gen), term: Term(newest.term) })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.room.map_or(0, |room| room.epoch)
    }

    pub(crate) fn taken(&self) -> u64 {
        self.room.map_or(0, |room| room.taken)
    }

    /// Where a message is.
    pub(crate) fn find(&self, message: Message) -> Option<u64> {
        self.rows.iter().find(|row| row.what == What::Said(message)).map(|row| row.seq)
    }

    /// True if a message is at some place, or was.
    pub(crate) fn was_said(&self, message: Message, seq: u64) -> bool {
        let said = (seq, What::Said(message));
        self.rows.iter().chain(&self.gone).any(|row| (row.seq, row.what) == said)
    }

    /// True if a message was deleted after the time for which it had to be known: it may be
    /// said again.
    pub(crate) fn is_forgotten(&self, message: Message) -> bool {
        self.gone.iter().any(|row| row.is_old && row.what == What::Said(message))
    }

    /// The epoch in which a claim was made.
    pub(crate) fn epoch_of(&self, term: u64) -> Option<u64> {
        let mut all = self.gone.iter().chain(&self.rows).rev();
        all.find(|row| row.seq == term && row.what.is_claim()).map(|row| row.epoch)
    }

    /// True if the room has had another epoch.
    pub(crate) fn is_renewed(&self) -> bool {
        self.epoch() >= 100
    }

    /// Where a message was that had to be known still.
    pub(crate) fn was_young(&self, row: &Row) -> Option<&Row> {
        let is_same = |other: &&Row| (other.epoch, other.what) == (row.epoch, row.what);
        self.gone.iter().filter(is_same).find(|other| !other.is_old)
    }

    /// What was at a place before.
    pub(crate) fn was_at(&self, epoch: u64, seq: u64) -> Option<&Row> {
        self.gone.iter().find(|row| (row.epoch, row.seq) == (epoch, seq))
    }

    /// Adds a row where there is none.
    pub(crate) fn insert(&mut self, seq: u64, term: u64, what: What) -> Row {
        let row = Row { seq, term, epoch: self.epoch(), what, is_old: false };
        let at = self.rows.partition_point(|other| other.seq < seq);
        self.rows.insert(at, row);
        row
    }

    /// One step of retention that keeps some of the newest entries.
    pub(crate) fn retain(&mut self, entries: u64, without: Option<Guard>) {
        let Some(Fence { term, .. }) = self.fence() else { return };
        let forgets_young = without == Some(Guard::YoungRowsStay);
        let now_ms = 2 * KNOWN_MS;
        let slim = |row: &Row| Slim {
            seq: Seq(row.seq),
            is_claim: row.what.is_claim(),
            at_ms: if row.is_old || forgets_young { 0 } else { now_ms },
        };
        let (head, taken) = (Seq(self.head()), Seq(self.taken()));
        let facts = Facts { now_ms, head, claim: term, taken };
        let lowest: Vec<Slim> =
            self.rows.iter().filter(|row| row.seq != term.0).map(slim).collect();
        let above: Vec<Slim> = self.rows.iter().filter(|row| row.seq > taken.0).map(slim).collect();
        let policy = Retention { age: std::time::Duration::MAX, entries };
        let plan = retention::plan(policy, facts, &lowest, &above, usize::MAX);
        let newest_goes = without == Some(Guard::NewestRowStays) && plan.empty_to == head;
        let goes = |row: &Row| {
            let is_deleted =
                row.seq <= plan.delete_to.0 || newest_goes && row.seq == head.0 && row.is_old;
            is_deleted && row.seq != term.0
        };
        let going: Vec<Row> = self.rows.iter().copied().filter(goes).collect();
        self.rows.retain(|row| !goes(row));
        self.gone.extend(going);
        if let Some(room) = &mut self.room {
            room.taken = plan.taken.0;
        }
    }

    /// Time goes by, until repeated cmids need not be known any more.
    pub(crate) fn age(&mut self) {
        self.rows.iter_mut().for_each(|row| row.is_old = true);
    }

    /// Takes the store back to when it had fewer entries.
    pub(crate) fn restore(&mut self, head: u64) {
        let lost: Vec<Row> = self.rows.iter().copied().filter(|row| row.seq > head).collect();
        self.rows.retain(|row| row.seq <= head);
        self.gone.extend(lost);
        self.restored = true;
        if let Some(room) = &mut self.room {
            room.taken = room.taken.min(head);
        }
    }

    /// An operator says `store new-epoch`.
    pub(crate) fn renew(&mut self, without: Option<Guard>) {
        self.restored = false;
        let Some(room) = &mut self.room else { return };
        if without == Some(Guard::NewEpochAfterRestore) {
            return;
        }
        room.epoch += 100;
        room.r#gen += 1;
        let seq = self.head() + 1;
        self.insert(seq, seq, What::Claim(None));
    }

    /// What is wrong with the log as it is (rules 1, 2 and 6).
    pub(crate) fn fault(&self) -> Option<(u8, String)> {
        let head = self.head();
        // Claims do not count: nothing that a client could miss.
        let is_claim = |seq| self.gone.iter().any(|row| row.seq == seq && row.what.is_claim());
        let is_hole = |seq: &u64| self.at(*seq).is_none() && !is_claim(*seq);
        if let Some(hole) = (self.taken() + 1..=head).find(is_hole) {
            return Some((1, format!("{hole} is missing below {head}")));
        }
        // Unknown where retention took the claim.
        let mut term = None;
        let mut is_owned = true;
        for row in &self.rows {
            if let What::Claim(by) = row.what {
                (term, is_owned) = (Some(row.seq), by.is_some());
            } else if !is_owned {
                return Some((
                    6,
                    format!("{} is at {}, where nobody has claimed", row.what, row.seq),
                ));
            }
            if let Some(term) = term.filter(|term| row.term != *term) {
                let Row { seq, what, term: its, .. } = row;
                return Some((
                    6,
                    format!("{what} is at {seq} under claim {its}, after claim {term}"),
                ));
            }
            if let Some(before) = self.was_at(row.epoch, row.seq)
                && before.what != row.what
            {
                return Some((2, format!("{} was {} and is {}", row.seq, before.what, row.what)));
            }
        }
        None
    }
}
