//! What waits in a room that is open, so that order per room is kept.
//!
//! Whoever comes in, comes back or wants to resume is answered from a read of the
//! room's head that began after they asked; all that comes after them waits behind
//! them. One read is under way per room; it answers for those who were there when it
//! began, and the next one for those who came later.
//!
//! Whoever missed more than the room remembers is answered once the log was read. That
//! holds up nobody but themselves: what the same session asks after that (of a re-join:
//! its link) waits, the others go on. In the same way a re-join waits for the end of an
//! append that its sessions asked for over a link which is lost.

use std::collections::{BTreeMap, VecDeque};

use model::{Fence, LinkId, SessionId};

use crate::{Input, Origin, Resume, Room};

/// An input and what decides whether it is served here.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Command {
    /// The input.
    pub input: Input,
    /// The highest fence that its sender has seen of the room.
    pub seen: Fence,
    /// True if it must not be sent elsewhere (again).
    pub redirected: bool,
}

/// The commands that wait, in order.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Line {
    waiting: VecDeque<Command>,
    /// So many of them were there when the read that is under way began.
    covered: usize,
    /// For whom the log is being read, and what of theirs waits for that.
    held: BTreeMap<Who, Vec<Command>>,
    /// How many commands are held.
    held_count: usize,
    /// The re-joins that wait for the end of an append.
    unsettled: Vec<Command>,
}

/// Who asks: one session, or a link for all of its sessions.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Who {
    link: LinkId,
    session: Option<SessionId>,
}

/// Commands that may wait in one room; further ones are refused.
const WAITING_MAX: usize = 16 * 1024;

impl Line {
    /// True if nobody waits for a read of the head.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True if nobody waits for anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.held.is_empty()
    }

    /// True if there is no place for `command`. Who leaves needs none: the join before
    /// had one.
    #[must_use]
    pub fn is_full_for(&self, command: &Command) -> bool {
        self.waiting.len() + self.held_count >= WAITING_MAX
            && !matches!(command.input, Input::Leave { .. })
    }

    /// Puts a command in line. True if a read has to be asked for.
    #[must_use]
    pub fn push(&mut self, command: Command) -> bool {
        self.waiting.push_back(command);
        self.waiting.len() == 1
    }

    /// A read begins: it answers for all who are here.
    pub fn begin(&mut self) {
        self.covered = self.waiting.len();
    }

    /// The read has ended: gives whom it answers for, and those behind them who need
    /// none. If somebody is left, another read has to be asked for.
    #[must_use]
    pub fn end(&mut self) -> Vec<Command> {
        let covered = std::mem::take(&mut self.covered);
        let rest = self.waiting.iter().skip(covered);
        let count = covered + rest.take_while(|command| !command.needs_head()).count();
        self.waiting.drain(..count).collect()
    }

    /// Behind whom a command has to wait until the log was read for them.
    #[must_use]
    pub fn is_held(&self, command: &Command) -> Option<Who> {
        let who = command.who()?;
        [Who { session: None, ..who }, who].into_iter().find(|who| self.held.contains_key(who))
    }

    /// Lets a command wait behind somebody.
    pub fn hold(&mut self, who: Who, command: Command) {
        self.held_count += 1;
        self.held.entry(who).or_default().push(command);
    }

    /// The log is being read for somebody.
    pub fn begin_replay(&mut self, who: Who) {
        self.held.entry(who).or_default();
    }

    /// The log was read for somebody: gives what waited behind them, in order.
    #[must_use]
    pub fn end_replay(&mut self, who: Who) -> Vec<Command> {
        let behind = self.held.remove(&who).unwrap_or_default();
        self.held_count -= behind.len();
        behind
    }

    /// A re-join waits for the end of an append; and so does what comes after it over its
    /// link.
    pub fn await_append(&mut self, who: Who, rejoin: Command) {
        self.held_count += 1;
        self.held.entry(who).or_default();
        self.unsettled.push(rejoin);
    }

    /// An append has ended: gives the re-joins that waited for one. Each is served, and
    /// after that what waited behind it ([`Self::end_replay`]), or waits again.
    #[must_use]
    pub fn take_unsettled(&mut self) -> Vec<Command> {
        self.held_count -= self.unsettled.len();
        std::mem::take(&mut self.unsettled)
    }

    /// Gives all who wait: the room is given up.
    #[must_use]
    pub fn clear(&mut self) -> Vec<Command> {
        let line = std::mem::take(self);
        let held = line.held.into_values().flatten();
        line.unsettled.into_iter().chain(held).chain(line.waiting).collect()
    }
}

impl Command {
    /// True if it must not be answered by an owner that was superseded unawares.
    #[must_use]
    pub fn needs_head(&self) -> bool {
        matches!(self.input, Input::Join(_) | Input::Rejoin(_) | Input::Add { .. })
    }

    /// True if it comes to nothing without the store.
    #[must_use]
    pub fn needs_store(&self) -> bool {
        let is_said = matches!(self.input, Input::Publish(_) | Input::Read(_));
        self.needs_head() || is_said
    }

    /// True if what somebody missed has to be read of the log, and they may have it.
    #[must_use]
    pub fn needs_log(&self, room: &Room) -> bool {
        match &self.input {
            Input::Rejoin(rejoin) => !room.remembers(rejoin.mark),
            Input::Join(join) => {
                let beyond = |resume: &Resume| !room.remembers(resume.position);
                join.resume.as_ref().is_some_and(beyond) && room.lets_in(&join.newcomer, join.link)
            }
            _ => false,
        }
    }

    /// True if it has to wait for the end of an append.
    #[must_use]
    pub fn needs_append(&self, room: &Room) -> bool {
        matches!(&self.input, Input::Rejoin(rejoin) if room.is_storing_for(rejoin))
    }

    /// Who asks, if it is a connector.
    #[must_use]
    pub fn who(&self) -> Option<Who> {
        let (link, session) = match &self.input {
            Input::Join(join) => (join.link, Some(join.newcomer.session)),
            Input::Leave { link, session, .. } => (*link, Some(*session)),
            Input::Publish(publish) => match &publish.origin {
                Origin::Session { link, session, .. } => (*link, Some(*session)),
                Origin::Call { .. } => return None,
            },
            Input::Read(read) => (read.link, Some(read.session)),
            Input::Rejoin(rejoin) => (rejoin.link, None),
            _ => return None,
        };
        Some(Who { link, session })
    }
}

#[cfg(test)]
mod tests {
    use model::{ConnectorId, Identity, UserName};
    use proptest::prelude::*;

    use super::*;
    use crate::{Join, Newcomer};

    /// A command that is known by its number.
    fn command(number: u64, needs_head: bool) -> Command {
        let (link, session) = (LinkId(1), SessionId(number));
        let connector: ConnectorId = "a".parse().unwrap();
        let (name, identity) = (UserName::parse("ann").unwrap(), Identity([0; 16]));
        let newcomer = Newcomer { session, name, identity, has_secret: false };
        let input = match needs_head {
            true => Input::Join(Join {
                link,
                connector,
                request_id: number,
                newcomer,
                resume: None,
                knows_roster: false,
            }),
            false => Input::Leave { link, request_id: number, session, away_at_ms: None },
        };
        Command { input, seen: Fence::default(), redirected: false }
    }

    fn number(command: &Command) -> u64 {
        match &command.input {
            Input::Join(join) => join.request_id,
            Input::Leave { request_id, .. } => *request_id,
            other => panic!("{other:?}"),
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Come { needs_head: bool },
        Begin,
        End,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => any::<bool>().prop_map(|needs_head| Op::Come { needs_head }),
            1 => Just(Op::Begin),
            2 => Just(Op::End),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whoever waits gets out in order, after a read that began when they were
        /// there; and somebody waits if and only if a read is asked for or under way.
        #[test]
        fn order_is_kept_and_every_read_is_a_late_one(ops in prop::collection::vec(op(), 0..60)) {
            let mut line = Line::default();
            let (mut came, mut out, mut begun) = (0_u64, 0_u64, None);
            let mut asked = false;
            for op in ops {
                match op {
                    Op::Come { needs_head } if needs_head || !line.is_empty() => {
                        came += 1;
                        if line.push(command(came, needs_head)) {
                            prop_assert!(!asked && begun.is_none());
                            asked = true;
                        }
                    }
                    Op::Come { .. } => {}
                    Op::Begin => {
                        if std::mem::take(&mut asked) {
                            line.begin();
                            begun = Some(came);
                        }
                    }
                    Op::End => {
                        let Some(there) = begun.take() else { continue };
                        for command in line.end() {
                            out += 1;
                            prop_assert_eq!(number(&command), out);
                            prop_assert!(out <= there || !command.needs_head());
                        }
                        prop_assert!(out >= there);
                        asked = !line.is_empty();
                    }
                }
                prop_assert_eq!(!line.is_empty(), asked || begun.is_some());
            }
            let rest: Vec<u64> = line.clear().iter().map(number).collect();
            prop_assert!(rest.into_iter().eq(out + 1..=came));
        }
    }
}
