//! What a shard does around its room, as `chat::rooms` and the tasks beside it do it:
//! who is let in and when, and what follows from what the store says. The room and the
//! line before it are the real ones.

use model::{Epoch, Fence, LinkId, Seq};
use room::{AppendResult, Command, Entry, Input, Kind, Line, Refusal, Replay, Resume, Room};

use crate::{
    Guard, Message,
    log::What,
    statement::{Append, Claim, Won},
    world::{self, IDENTITY, LIMITS, World},
};

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Shard {
    pub(crate) slot: Slot,
    /// The claim that is under way, and its end.
    pub(crate) claiming: Option<(Claim, Option<Result<Won, ()>>)>,
    /// The append that is under way.
    pub(crate) appending: Option<Appending>,
    /// True if somebody waits for a read of the head.
    pub(crate) wants_head: bool,
    /// The read of the head that is under way: for whom, and what it saw.
    pub(crate) head_read: Option<(Fence, Option<Fence>)>,
    /// Reads of the log for those who come back.
    pub(crate) replays: Vec<Replaying>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Appending {
    pub(crate) fence: Fence,
    pub(crate) statement: Append,
    pub(crate) result: Option<AppendResult>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Replaying {
    fence: Fence,
    command: Command,
    /// The page that was read, and whose the room was.
    page: Option<(Option<Fence>, Replay)>,
}

impl Replaying {
    pub(crate) fn was_read(&self) -> bool {
        self.page.is_some()
    }
}

/// Whether the room is here.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Slot {
    #[default]
    Nothing,
    Claiming {
        waiting: Vec<Command>,
        covered: usize,
    },
    Open(Box<Open>),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Open {
    pub(crate) room: Room,
    line: Line,
    pub(crate) dirty: bool,
}

impl World {
    // === commands (chat::rooms::commands) ===

    pub(crate) fn submit(&mut self, at: usize, command: Command) {
        match &mut self.shards[at].slot {
            Slot::Claiming { waiting, .. } => waiting.push(command),
            Slot::Open(open) if command.seen > open.room.fence() => {
                self.change(at, None, |world, open| world.apply(at, open, Input::Superseded));
                self.submit(at, command);
            }
            Slot::Open(_) => self.change(at, None, |world, open| world.line_up(at, open, command)),
            slot @ Slot::Nothing => match &command.input {
                Input::Join(_) | Input::Rejoin(_) => {
                    *slot = Slot::Claiming { waiting: vec![command], covered: 0 };
                }
                _ => self.refuse(&command, Refusal::Moved),
            },
        }
    }

    /// Changes a room that is open, under `fence` if there has to be one; takes it out if
    /// `change` says so. Whoever waits there asks again.
    fn change(
        &mut self,
        at: usize,
        fence: Option<Fence>,
        change: impl FnOnce(&mut Self, &mut Open) -> bool,
    ) {
        let is_meant = |open: &Open| fence.is_none_or(|fence| fence == open.room.fence());
        match std::mem::take(&mut self.shards[at].slot) {
            Slot::Open(mut open) if is_meant(&open) => {
                if change(self, &mut open) {
                    for command in open.line.clear() {
                        self.submit(at, command);
                    }
                } else {
                    self.shards[at].slot = Slot::Open(open);
                }
            }
            other => self.shards[at].slot = other,
        }
    }

    fn line_up(&mut self, at: usize, open: &mut Open, command: Command) -> bool {
        let needs_head = command.needs_head() && self.without != Some(Guard::HeadIsReadFirst);
        if open.line.is_empty() && !needs_head {
            return self.admit(at, open, command);
        }
        if open.line.push(command) {
            self.shards[at].wants_head = true;
        }
        false
    }

    fn admit(&mut self, at: usize, open: &mut Open, command: Command) -> bool {
        if let Some(who) = open.line.is_held(&command) {
            open.line.hold(who, command);
            return false;
        }
        match self.postpone(at, open, command) {
            None => false,
            Some(command) => self.apply(at, open, command.input),
        }
    }

    fn postpone(&mut self, at: usize, open: &mut Open, command: Command) -> Option<Command> {
        let Some(who) = command.who() else { return Some(command) };
        if command.needs_append(&open.room) && self.without != Some(Guard::RejoinsWait) {
            open.line.await_append(who, command);
            return None;
        }
        if command.needs_log(&open.room) {
            open.line.begin_replay(who);
            let fence = open.room.fence();
            self.shards[at].replays.push(Replaying { fence, command, page: None });
            return None;
        }
        Some(command)
    }

    fn settle(&mut self, at: usize, open: &mut Open) {
        for command in open.line.take_unsettled() {
            let who = command.who();
            let Some(command) = self.postpone(at, open, command) else { continue };
            self.apply(at, open, command.input);
            for command in who.map(|who| open.line.end_replay(who)).unwrap_or_default() {
                self.admit(at, open, command);
            }
        }
    }

    /// Gives up a room that is open under `fence`.
    pub(crate) fn supersede(&mut self, at: usize, fence: Fence) {
        self.change(at, Some(fence), |world, open| world.apply(at, open, Input::Superseded));
    }

    /// Gives it up as soon as nothing is in flight.
    pub(crate) fn release(&mut self, at: usize) {
        self.change(at, None, |world, open| world.apply(at, open, Input::Release));
    }

    /// The shard has found out that a link is gone.
    pub(crate) fn lose_link(&mut self, at: usize, link: LinkId) {
        self.links.retain(|other| other.id != link);
        let input = Input::LinkLost { link, now_ms: 0 };
        self.change(at, None, |world, open| world.apply(at, open, input));
    }

    // === claims (chat::claims, chat::rooms::claiming) ===

    pub(crate) fn begin_claim(&mut self, at: usize) {
        let drawn = self.log.room.is_none().then_some(10 + at as u64);
        let shard = &mut self.shards[at];
        if let Slot::Claiming { waiting, covered } = &mut shard.slot {
            *covered = waiting.len();
            let claim = Claim { shard: at as u8, drawn, saw: None };
            shard.claiming = Some((claim, None));
        }
    }

    pub(crate) fn end_claim(&mut self, at: usize) {
        let Some((_, Some(end))) = self.shards[at].claiming.take() else { return };
        let slot = &mut self.shards[at].slot;
        let Slot::Claiming { waiting, covered } = slot else { return };
        let (mut waiting, covered) = (std::mem::take(waiting), *covered);
        *slot = Slot::Nothing;
        let Ok(Won { epoch, fence }) = end else {
            return waiting.iter().for_each(|command| self.refuse(command, Refusal::Unavailable));
        };
        if waiting.iter().any(|command| command.seen > fence) {
            // While the claim was under way somebody came who has seen a later owner.
            self.shards[at].slot = Slot::Claiming { waiting, covered: 0 };
            return;
        }
        let room = Room::new(world::room_id(), Epoch(epoch), fence, LIMITS);
        let mut open = Box::new(Open { room, line: Line::default(), dirty: false });
        // The claim has told the head to those who were there when it began.
        let late = waiting.split_off(covered.min(waiting.len()));
        for command in waiting {
            self.admit(at, &mut open, command);
        }
        self.shards[at].slot = Slot::Open(open);
        late.into_iter().for_each(|command| self.submit(at, command));
    }

    // === heads (chat::heads) ===

    /// Begins, and sees the log as it is now: a later look would be a better one.
    pub(crate) fn begin_head(&mut self, at: usize) {
        let shard = &mut self.shards[at];
        shard.wants_head = false;
        let Slot::Open(open) = &mut shard.slot else { return };
        open.line.begin();
        shard.head_read = Some((open.room.fence(), self.log.fence()));
    }

    pub(crate) fn end_head(&mut self, at: usize) {
        let Some((fence, found)) = self.shards[at].head_read.take() else { return };
        let is_here = found == Some(fence);
        self.change(at, Some(fence), |world, open| {
            if !is_here {
                return world.apply(at, open, Input::Superseded);
            }
            for command in open.line.end() {
                world.admit(at, open, command);
            }
            world.shards[at].wants_head |= !open.line.is_empty();
            false
        });
    }

    // === what somebody missed (chat::read) ===

    pub(crate) fn read_log(&mut self, at: usize, index: usize) {
        let Input::Rejoin(rejoin) = &self.shards[at].replays[index].command.input else { return };
        let from = rejoin.mark.seq.max(Seq(self.log.taken()));
        let entry = |row: &crate::log::Row| match row.what {
            What::Said(message) if row.seq > from.0 => Some(entry(row.seq, message)),
            _ => None,
        };
        let entries = self.log.rows().iter().filter_map(entry).collect();
        let replay = Replay { entries, from, up_to: Seq(self.log.head()) };
        self.shards[at].replays[index].page = Some((self.log.fence(), replay));
    }

    pub(crate) fn end_replay(&mut self, at: usize, index: usize) {
        let Replaying { fence, command, page } = self.shards[at].replays.remove(index);
        let Some((found, replay)) = page else { return };
        if found != Some(fence) {
            self.supersede(at, fence);
            return self.submit(at, command);
        }
        let joins = match &self.shards[at].slot {
            Slot::Open(open) if open.room.fence() == fence => open.room.joins(replay.up_to),
            _ => return self.submit(at, command),
        };
        if !joins {
            self.shards[at].replays.push(Replaying { fence, command, page: None });
            return;
        }
        self.change(at, Some(fence), |world, open| {
            let who = command.who();
            if let Some(who) = who.filter(|_| command.needs_append(&open.room))
                && world.without != Some(Guard::RejoinsWait)
            {
                open.line.await_append(who, command);
                return false;
            }
            let behind = who.map(|who| open.line.end_replay(who)).unwrap_or_default();
            world.apply(at, open, with_replay(command.input, replay));
            for command in behind {
                world.admit(at, open, command);
            }
            false
        });
    }

    // === appends (chat::writer, chat::rooms::effects) ===

    pub(crate) fn begin_append(&mut self, at: usize) {
        let shard = &mut self.shards[at];
        let Slot::Open(open) = &mut shard.slot else { return };
        open.dirty = false;
        let Some(append) = open.room.take_append() else { return };
        let messages = append.entries.iter().map(|entry| Message::of(&entry.content)).collect();
        let (term, after) = (append.term.0, append.after.0);
        let epoch = open.room.head().epoch.0;
        let statement = Append { epoch, term, after, messages, passes: None };
        let fence = open.room.fence();
        shard.appending = Some(Appending { fence, statement, result: None });
        if self.without == Some(Guard::StoredComesFirst) {
            self.appended(at, fence, AppendResult::Stored { at_ms: 0 });
        }
    }

    pub(crate) fn end_append(&mut self, at: usize) {
        let Some(appending) = self.shards[at].appending.take() else { return };
        let Some(mut result) = appending.result else { return };
        match &result {
            AppendResult::Superseded => self.learn(at),
            AppendResult::Unknown if self.without == Some(Guard::UnknownIsNotFailed) => {
                result = AppendResult::Failed;
            }
            _ => {}
        }
        if self.without != Some(Guard::StoredComesFirst) {
            self.appended(at, appending.fence, result);
        }
    }

    fn appended(&mut self, at: usize, fence: Fence, result: AppendResult) {
        let input = Input::Appended(result);
        self.change(at, Some(fence), |world, open| {
            let is_over = world.apply(at, open, input);
            if !is_over {
                world.settle(at, open);
            }
            is_over
        });
    }

    // === rooms that others have claimed (chat::superseded) ===

    /// Asks the store who has the room, and gives it up if it is somebody else.
    pub(crate) fn learn(&mut self, at: usize) {
        let (last, restored) = (self.log.fence(), self.log.restored);
        let Slot::Open(open) = &self.shards[at].slot else { return };
        let fence = open.room.fence();
        if restored || last.is_some_and(|last| last > fence) {
            self.supersede(at, fence);
        }
    }
}

/// An entry, as it is in the log.
fn entry(seq: u64, message: Message) -> Entry {
    Entry {
        seq: Seq(seq),
        kind: Kind::Message,
        author: world::user(0),
        author_identity: IDENTITY,
        content: message.content().into(),
        cmid: message.cmid(),
        at_ms: 0,
        redacted: false,
    }
}

/// Gives a command what was read for it (`chat::read`).
fn with_replay(mut input: Input, replay: Replay) -> Input {
    match &mut input {
        Input::Rejoin(rejoin) => rejoin.replay = Some(replay),
        Input::Join(join) => {
            join.resume =
                join.resume.take().map(|resume| Resume { replay: Some(replay), ..resume });
        }
        _ => {}
    }
    input
}
