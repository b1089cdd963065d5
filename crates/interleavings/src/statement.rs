//! What shards ask the store to write, as a database does it: a statement sees the rows
//! that were committed when it began, and then inserts, where the rows that are there by
//! then count. Anything may happen in between, and when a shard has given up waiting, it
//! may still happen later.

use model::{Fence, Gen, Term};
use room::{AppendResult, Duplicate};

use crate::{
    Guard, Message,
    log::{Log, RoomRow, What},
};

/// One that is under way.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Statement {
    Claim(Claim),
    Append(Append),
}

/// Makes a shard the room's owner.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Claim {
    pub(crate) shard: u8,
    /// The epoch that was drawn, as the room was not there.
    pub(crate) drawn: Option<u64>,
    pub(crate) saw: Option<Saw>,
}

/// What a claim saw when it began.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Saw {
    head: u64,
    epoch: u64,
    r#gen: u64,
}

/// What a shard is told that has claimed the room.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Won {
    pub(crate) epoch: u64,
    pub(crate) fence: Fence,
}

/// Stores what was said.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Append {
    pub(crate) epoch: u64,
    pub(crate) term: u64,
    pub(crate) after: u64,
    pub(crate) messages: Vec<Message>,
    /// Whether the row before was there, under its term, when it began.
    pub(crate) passes: Option<bool>,
}

impl Statement {
    /// True if it will change nothing, whenever it is carried out: it has seen that it may
    /// not, or somebody wrote where it would, and `log` keeps that row.
    pub(crate) fn is_in_vain(&self, log: &Log) -> bool {
        match self {
            Self::Claim(claim) => claim.is_beaten(log),
            Self::Append(append) => {
                append.passes == Some(false) || log.at(append.after + 1).is_some()
            }
        }
    }
}

impl Claim {
    /// Makes the room, if there is none, and looks for its newest entry.
    pub(crate) fn begin(&mut self, log: &mut Log) {
        if let (None, Some(epoch)) = (log.room, self.drawn) {
            log.room = Some(RoomRow { epoch, r#gen: 1, taken: 0 });
        }
        let room = log.room.expect("a room is never deleted");
        self.saw = Some(Saw { head: log.head(), epoch: room.epoch, r#gen: room.r#gen });
    }

    /// True if somebody wrote where it would.
    pub(crate) fn is_beaten(&self, log: &Log) -> bool {
        self.saw.is_some_and(|saw| log.at(saw.head + 1).is_some())
    }

    /// Inserts; none if somebody wrote meanwhile, and it has to begin again.
    pub(crate) fn commit(&mut self, log: &mut Log, without: Option<Guard>) -> Option<Won> {
        let Saw { head, epoch, r#gen } = self.saw.take()?;
        let seq = head + 1;
        if log.at(seq).is_none() {
            log.insert(seq, seq, What::Claim(Some(self.shard)));
        } else if without != Some(Guard::ClaimsAreRepeated) {
            return None;
        }
        let drawn = self.drawn.filter(|_| without == Some(Guard::NewRoomsAreRead));
        let fence = Fence { r#gen: Gen(r#gen), term: Term(seq) };
        Some(Won { epoch: drawn.unwrap_or(epoch), fence })
    }
}

impl Append {
    /// Looks for the row before.
    pub(crate) fn begin(&mut self, log: &Log, without: Option<Guard>) {
        let is_its_epoch = without == Some(Guard::EpochIsChecked) || log.epoch() == self.epoch;
        let is_before =
            || is_its_epoch && log.at(self.after).is_some_and(|row| row.term == self.term);
        let is_owner = || log.fence().is_some_and(|Fence { term, .. }| term.0 == self.term);
        self.passes = Some(match without {
            Some(Guard::RowBefore) => true,
            Some(Guard::FenceIsTheLog) => is_owner(),
            _ => is_before(),
        });
    }

    /// Inserts all or nothing.
    pub(crate) fn commit(&self, log: &mut Log, without: Option<Guard>) -> AppendResult {
        if self.passes != Some(true) {
            return AppendResult::Superseded;
        }
        let mut first = self.after + 1;
        if without == Some(Guard::FenceIsTheLog) {
            // It takes the next number that is free: who may write is known already.
            first = log.head() + 1;
        }
        let rows = || (first..).zip(self.messages.iter().copied());
        if log.at(first).is_some() {
            if without == Some(Guard::RestFollowsFirst) {
                for (seq, message) in rows().filter(|(seq, _)| *seq != first) {
                    if log.at(seq).is_none() && log.find(message).is_none() {
                        log.insert(seq, self.term, What::Said(message));
                    }
                }
            }
            return AppendResult::Superseded;
        }
        if without != Some(Guard::OneEntryPerCmid)
            && let Some(refused) = self.repeats(log, without)
        {
            return refused;
        }
        if rows().any(|(seq, _)| log.at(seq).is_some()) {
            // What is violated is not a cmid: a log that goes on elsewhere.
            return AppendResult::Superseded;
        }
        for (seq, message) in rows() {
            log.insert(seq, self.term, What::Said(message));
        }
        AppendResult::Stored { at_ms: 0 }
    }

    /// How it ends if some of it was stored before.
    fn repeats(&self, log: &Log, without: Option<Guard>) -> Option<AppendResult> {
        let duplicate = |(index, message): (usize, &Message)| {
            let seq = model::Seq(log.find(*message)?);
            Some(Duplicate { index, seq, at_ms: 0, digest: message.digest() })
        };
        let duplicates: Vec<_> = self.messages.iter().enumerate().filter_map(duplicate).collect();
        if !duplicates.is_empty() {
            return Some(AppendResult::Duplicates(duplicates));
        }
        let mut rest = self.messages.iter();
        let mut is_twice = false;
        while let Some(message) = rest.next() {
            is_twice |= rest.clone().any(|other| other == message);
        }
        let refuses = is_twice && without != Some(Guard::OneCmidPerAppend);
        refuses.then_some(AppendResult::Failed)
    }
}
