//! The contract's rules, in every state and at every word to a client.

use model::{Fence, Position, Seq};
use room::Verdict;

use crate::{
    Message,
    shard::Slot,
    statement::Statement,
    world::{SHARDS, World},
};

/// A rule that does not hold.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Broken {
    pub(crate) rule: u8,
    pub(crate) how: String,
}

/// What a client was told of its message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Acknowledged {
    pub(crate) message: Message,
    position: Position,
}

impl World {
    pub(crate) fn breaks(&mut self, rule: u8, how: String) {
        self.broken.get_or_insert(Broken { rule, how });
    }

    /// Looks at the whole.
    pub(crate) fn look(&mut self) {
        let faults = [self.log.fault(), self.says_twice(), self.goes_on(), self.is_out_of_order()];
        if let Some((rule, how)) = faults.into_iter().flatten().next() {
            self.breaks(rule, how);
        }
    }

    /// Rules 3, 2 and 5, as a client is told that its message is stored.
    pub(crate) fn acknowledge(&mut self, message: Message, position: Position) {
        let seq = position.seq;
        if !self.log.was_said(message, seq.0) {
            self.breaks(3, format!("{message} is acknowledged at {}, and is not stored", seq.0));
        }
        if self.log.is_forgotten(message) {
            return;
        }
        // In a new epoch it is at a new place, and perhaps nowhere until it is said again.
        let is_renewed = self.log.is_renewed();
        let of = |ack: &&Acknowledged| {
            ack.message == message && (!is_renewed || ack.position.epoch == position.epoch)
        };
        match self.acknowledged.iter().find(of).map(|ack| ack.position) {
            Some(before) if before != position => {
                let place = |at: Position| format!("{} of epoch {}", at.seq.0, at.epoch.0);
                let (first, then) = (place(before), place(position));
                self.breaks(5, format!("{message} is acknowledged at {first}, then at {then}"));
            }
            Some(_) => {}
            None => {
                self.acknowledged.push(Acknowledged { message, position });
                self.acknowledged.sort_by_key(|ack| (ack.position.epoch.0, ack.message));
            }
        }
    }

    /// Rules 2 and 4, as an entry goes over a link.
    pub(crate) fn check_pushed(&mut self, entry: &room::Entry) {
        let message = Message::of(&entry.content);
        let seq = entry.seq.0;
        match self.log.at(seq).map(|row| row.what) {
            // It was taken or lost after it had been stored.
            _ if self.log.was_said(message, seq) => {}
            None => self.breaks(4, format!("{message} is pushed as {seq}, which is not stored")),
            Some(what) => self.breaks(4, format!("{message} is pushed as {seq}, which is {what}")),
        }
    }

    /// Rule 9: an owner that was superseded before somebody asked does not answer. Rule 2:
    /// a place is one in the log.
    pub(crate) fn was_let_in(&mut self, at: usize, fence: Fence, position: Position) {
        let (told, term) = (position.epoch.0, fence.term.0);
        if !self.log.is_renewed() && self.log.epoch_of(term).is_some_and(|epoch| epoch != told) {
            let how = format!("let in at epoch {told}, when claim {term} is of another");
            self.breaks(2, how);
        }
        let asked = self.connectors[at].asked.unwrap_or_default();
        if fence < asked {
            let (its, last) = (fence.term.0, asked.term.0);
            let how = format!("let in under claim {its}, when {last} was there before it asked");
            self.breaks(9, how);
        }
    }

    /// Rule 9: the verdict is what the log says.
    pub(crate) fn check_verdict(&mut self, at: usize, verdict: Verdict, position: Position) {
        let mark = self.connectors[at].mark;
        match verdict {
            Verdict::Reset if mark.epoch == position.epoch => {
                self.breaks(9, format!("reset, with {} of the same epoch", mark.seq.0));
            }
            Verdict::Truncated { .. } if self.log.taken() <= mark.seq.0 => {
                self.breaks(9, format!("truncated, and all after {} is there", mark.seq.0));
            }
            _ => {}
        }
    }

    /// Rule 7: a session was shown all that was said up to some place.
    pub(crate) fn check_whole(&mut self, at: usize, up_to: Seq) {
        let from = self.connectors[at].mark.seq.0.max(self.log.taken());
        let missed = self
            .log
            .rows()
            .iter()
            .find(|row| !row.what.is_claim() && from < row.seq && row.seq <= up_to.0);
        if let Some(what) = missed.map(|row| row.what) {
            self.breaks(7, format!("{what} was not shown to connector {at}"));
        }
    }

    /// Rule 5, in the log.
    fn says_twice(&self) -> Option<(u8, String)> {
        let rows = self.log.rows();
        rows.iter().enumerate().filter(|(_, row)| !row.what.is_claim()).find_map(|(at, row)| {
            let is_same = |other: &&crate::log::Row| other.what == row.what;
            let other = rows[..at].iter().find(is_same).or_else(|| self.log.was_young(row))?;
            Some((5, format!("{} is at {} and at {}", row.what, other.seq, row.seq)))
        })
    }

    /// Rule 13: a shard does not go on while it cannot tell what became of an append.
    fn goes_on(&self) -> Option<(u8, String)> {
        if self.log.restored {
            return None;
        }
        for at in 0..SHARDS {
            let shard = &self.shards[at];
            let Slot::Open(open) = &shard.slot else { continue };
            let fence = open.room.fence();
            let is_writing =
                shard.appending.as_ref().is_some_and(|appending| appending.fence == fence);
            if is_writing || Some(fence) != self.log.fence() {
                continue;
            }
            let (head, its) = (self.log.head(), open.room.head().seq.0);
            if head > its {
                let how = format!("shard {at} serves the room up to {its}, and the log has {head}");
                return Some((13, how));
            }
            let may_land = |statement: &&Statement| match statement {
                Statement::Append(append) => append.term == fence.term.0 && append.after == head,
                Statement::Claim(_) => false,
            };
            if let Some(Statement::Append(append)) = self.late.iter().find(may_land) {
                let message = append.messages[0];
                let how = format!("shard {at} serves the room, and {message} may still be stored");
                return Some((13, how));
            }
        }
        None
    }

    /// Rule 15: what a session says is stored in the order in which it said it.
    fn is_out_of_order(&self) -> Option<(u8, String)> {
        for connector in &self.connectors {
            let says = connector.says;
            for (at, first) in says.iter().enumerate() {
                if connector.refused.contains(first) {
                    continue;
                }
                let Some(before) = self.log.find(*first) else { continue };
                for then in &says[at + 1..] {
                    let Some(after) = self.log.find(*then) else { continue };
                    if before > after && !self.is_said_by_both(*then) {
                        return Some((15, format!("{then} is stored before {first}")));
                    }
                }
            }
        }
        None
    }

    /// True if both sessions say it, so that the order of one does not say much.
    pub(crate) fn is_said_by_both(&self, message: Message) -> bool {
        self.connectors.iter().all(|connector| connector.says.contains(&message))
    }
}
