//! What a connector makes of what it hears (`connector::inbound`).

use model::{Fence, LinkId, Position, Seq};
use room::{Event, Outcome, Refusal, Verdict};

use crate::{
    Guard, Message,
    connector::{Ask, JOIN, Pending, Route, SAYS},
    world::World,
};

impl World {
    /// A connector hears of its room; not of one that goes over another link.
    pub(crate) fn hear(&mut self, at: usize, link: LinkId, fence: Fence, event: Event) {
        if self.connectors[at].route.link() != Some(link) {
            return;
        }
        match event {
            Event::Reply { request_id, outcome: Ok(outcome) } => {
                self.answered(at, request_id, fence, outcome);
            }
            Event::Reply { request_id, outcome: Err(refusal) } => {
                self.refused(at, request_id, refusal);
            }
            Event::Entry { entry, prev } => {
                let connector = &self.connectors[at];
                // A superseded shard says something, or says it again.
                let is_late = connector.seen > fence || !connector.is_attached;
                if is_late || entry.seq <= connector.mark.seq {
                    return;
                }
                let message = Message::of(&entry.content);
                let is_next = prev == connector.mark.seq;
                let position = Position { seq: entry.seq, ..connector.mark };
                if !is_next {
                    let how = format!("{} follows {} on a whole link", entry.seq.0, prev.0);
                    self.breaks(7, how);
                }
                self.answer_first(at, message, position);
                self.show(at, entry.seq);
            }
            Event::Moved => self.connectors[at].detach(),
            Event::CloseSession { .. } => self.breaks(11, "nobody else has the name".into()),
            Event::Presence { .. } | Event::Redacted { .. } => {}
        }
    }

    fn answered(&mut self, at: usize, request_id: u64, fence: Fence, outcome: Outcome) {
        match outcome {
            Outcome::Joined { grant, position, .. } => {
                let connector = &mut self.connectors[at];
                if matches!(connector.route, Route::Rejoining(_))
                    || connector.take(Ask::Join).is_none()
                {
                    return;
                }
                connector.seen = connector.seen.max(fence);
                connector.grant = grant;
                connector.is_member = true;
                connector.is_attached = true;
                connector.mark = position;
                self.was_let_in(at, fence, position);
                self.send_waiting(at);
            }
            Outcome::Rejoined { verdict, position, entries, readmitted, .. } => {
                if !self.connectors[at].waits_for(request_id) {
                    return;
                }
                self.was_let_in(at, fence, position);
                self.check_verdict(at, verdict, position);
                let connector = &mut self.connectors[at];
                let Some((_, grant)) = readmitted.first() else {
                    return self.breaks(11, "nobody else has the name".into());
                };
                connector.grant = *grant;
                connector.seen = connector.seen.max(fence);
                if verdict == Verdict::Reset {
                    // What the room still knows of the new log; all of it is new.
                    let first = entries.first().map(|entry| Seq(entry.seq.0 - 1));
                    connector.mark = Position { seq: first.unwrap_or(position.seq), ..position };
                }
                for entry in entries {
                    if self.connectors[at].mark.seq < entry.seq {
                        // The answer to its author comes first.
                        let message = Message::of(&entry.content);
                        let at_seq = Position { seq: entry.seq, ..position };
                        if self.is_stored(at, message, at_seq) {
                            self.refuse_overtaken(at, message);
                        }
                        self.show(at, entry.seq);
                    }
                }
                self.takes_up(at, verdict, position);
            }
            Outcome::Published { position, .. } => {
                self.is_stored(at, Message((request_id - SAYS) as u8), position);
            }
            Outcome::Gone => {}
        }
    }

    /// Goes on after a re-join.
    fn takes_up(&mut self, at: usize, verdict: Verdict, position: Position) {
        let connector = &mut self.connectors[at];
        let Some(link) = connector.route.link() else { return };
        if verdict == Verdict::Complete {
            self.check_whole(at, position.seq);
        }
        let connector = &mut self.connectors[at];
        connector.is_attached = true;
        connector.mark = position;
        connector.route = Route::Live(link);
        if verdict != Verdict::Complete {
            // Whether these were stored, nobody can tell.
            let unknown = |pending: &Pending| pending.was_sent || pending.is_repeated;
            let gone = connector.pending.extract_if(.., |pending| unknown(pending));
            let gone: Vec<Pending> = gone.collect();
            connector.refuse(gone);
        }
        self.connectors[at].send_again();
        self.send_waiting(at);
    }

    /// The session has its answer, and what it says is stored. True if it waited for that.
    fn is_stored(&mut self, at: usize, message: Message, position: Position) -> bool {
        let waited = self.connectors[at].take(Ask::Say(message)).is_some();
        if waited {
            self.acknowledge(message, position);
        }
        waited
    }

    /// What the session said before a message that is stored, and is not, was refused.
    fn refuse_overtaken(&mut self, at: usize, stored: Message) {
        if self.without == Some(Guard::OvertakenIsRefused) {
            return;
        }
        let connector = &mut self.connectors[at];
        let is_before = |pending: &mut Pending| match pending.ask {
            Ask::Say(message) => (pending.was_sent || pending.is_repeated) && message.0 < stored.0,
            Ask::Join => false,
        };
        let overtaken: Vec<Pending> = connector.pending.extract_if(.., is_before).collect();
        connector.refuse(overtaken);
    }

    /// An entry is about to be shown: it answers what may be with a shard twice.
    fn answer_first(&mut self, at: usize, message: Message, position: Position) {
        let connector = &mut self.connectors[at];
        if connector.asked_twice {
            connector.asked_twice = !connector.pending.is_empty();
            self.is_stored(at, message, position);
        }
        let asked = Ask::Say(message);
        let waits = self.connectors[at].pending.iter().any(|pending| pending.ask == asked);
        if waits && !self.is_said_by_both(message) {
            self.breaks(15, format!("{message} is pushed before it is answered"));
        }
    }

    /// The session is shown an entry.
    fn show(&mut self, at: usize, seq: Seq) {
        self.check_whole(at, Seq(seq.0 - 1));
        self.connectors[at].mark.seq = seq;
    }

    fn refused(&mut self, at: usize, request_id: u64, refusal: Refusal) {
        let connector = &mut self.connectors[at];
        let is_rejoining = matches!(connector.route, Route::Rejoining(_));
        let is_attached = connector.is_attached;
        let ask = match request_id {
            JOIN => Ask::Join,
            rejoin if rejoin < SAYS => {
                if connector.waits_for(rejoin) {
                    // It is answered: no other answer to it may come.
                    connector.route = Route::Wanted;
                    connector.detach();
                }
                return;
            }
            says => Ask::Say(Message((says - SAYS) as u8)),
        };
        if refusal == Refusal::NotAMember && connector.is_early(ask) {
            connector.unsend(ask);
            return;
        }
        if refusal == Refusal::MovedMeanwhile {
            connector.may_be_stored(ask);
        }
        let again = matches!(refusal, Refusal::Moved | Refusal::MovedMeanwhile)
            || matches!(refusal, Refusal::Unavailable) && !is_attached;
        if again {
            if connector.unsend(ask) && !is_attached && !is_rejoining {
                connector.detach();
            }
        } else if let Some(pending) = connector.take(ask)
            && let Ask::Say(message) = ask
        {
            connector.refused.push(message);
            if refusal != Refusal::Unavailable && !pending.is_repeated {
                self.breaks(0, format!("{message} of a member is refused: {refusal}"));
            }
        }
    }
}
