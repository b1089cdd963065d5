//! What happens, and how often.

use std::fmt;

use crate::{Guard, Message};

/// A bounded story: who says what, and what may go wrong on the way.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// What the session behind each connector says, in order. The same letter is the
    /// same message, by the same person.
    pub says: [&'static [Message]; 2],
    /// When the second session comes.
    pub order: Order,
    /// How often things happen.
    pub budget: Budget,
}

/// When the second of two sessions comes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Order {
    /// At any time.
    AtOnce,
    /// Once the first is in.
    OnceIn,
    /// Once all that the first says was answered.
    OnceDone,
}

/// How many times something may happen, at any time.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Budget {
    /// A shard claims the room.
    pub claims: u8,
    /// Something goes wrong, of all that comes next.
    pub faults: u8,
    /// A connector loses its link, and the shard does not know yet.
    pub cuts: u8,
    /// A connector leaves a shard for another, for its view says so.
    pub moves: u8,
    /// A shard dies, and comes back with nothing.
    pub crashes: u8,
    /// A shard gives the room up, for its view says so.
    pub releases: u8,
    /// A shard does not learn what became of a statement, which may land late.
    pub unknowns: u8,
    /// The store refuses a statement.
    pub refusals: u8,
    /// Retention takes a prefix.
    pub retentions: u8,
    /// A day goes by.
    pub days: u8,
    /// An operator gives the room a new epoch.
    pub epochs: u8,
    /// The store is set back to an earlier state.
    pub restores: u8,
}

const NONE: Budget = Budget {
    claims: 0,
    faults: 0,
    cuts: 0,
    moves: 0,
    crashes: 0,
    releases: 0,
    unknowns: 0,
    refusals: 0,
    retentions: 0,
    days: 0,
    epochs: 0,
    restores: 0,
};

/// Any fault, once.
const ANY: Budget = Budget {
    faults: 1,
    cuts: 1,
    moves: 1,
    crashes: 1,
    releases: 1,
    unknowns: 1,
    refusals: 1,
    ..NONE
};

const A: Message = Message(0);
const B: Message = Message(1);
const NOBODY: &[Message] = &[];

impl Budget {
    /// True if something may go wrong that may go wrong `left` times.
    pub(crate) fn may(&self, left: u8) -> bool {
        self.faults > 0 && left > 0
    }
}

impl Scenario {
    /// All that are explored.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let (one, pair) = ([&[A][..], NOBODY], [&[A, B][..], NOBODY]);
        let (twice, repeated) = ([&[A][..], &[A]], [&[A, B][..], &[A]]);
        let story = |name, says, order, budget| Self { name, says, order, budget };
        let shards = Budget { claims: 2, faults: 1, crashes: 1, unknowns: 1, ..NONE };
        vec![
            story("claims that race", repeated, Order::AtOnce, Budget { claims: 3, ..NONE }),
            story("any fault", twice, Order::OnceIn, Budget { claims: 2, ..ANY }),
            story(
                "any fault and a new epoch",
                one,
                Order::OnceIn,
                Budget { claims: 3, epochs: 1, ..ANY },
            ),
            story("a crash or a late statement", repeated, Order::OnceIn, shards),
            story(
                "refused statements and lost links",
                pair,
                Order::OnceIn,
                Budget { claims: 2, faults: 3, cuts: 2, refusals: 1, unknowns: 1, ..NONE },
            ),
            story(
                "a crash and a late statement, with retention",
                pair,
                Order::OnceIn,
                Budget { faults: 2, retentions: 1, ..shards },
            ),
            story(
                "a crash or a late statement, with retention and a new epoch",
                repeated,
                Order::OnceDone,
                Budget { retentions: 1, epochs: 1, ..shards },
            ),
            story(
                "retention and a new epoch",
                repeated,
                Order::OnceIn,
                Budget { claims: 2, retentions: 1, epochs: 1, ..NONE },
            ),
            story(
                "a store that is set back, and a crash",
                pair,
                Order::OnceIn,
                Budget { claims: 3, restores: 1, faults: 1, crashes: 1, ..NONE },
            ),
        ]
    }

    /// One for tests, that visits few states.
    #[must_use]
    pub fn small() -> Self {
        let budget = Budget {
            claims: 2,
            faults: 1,
            cuts: 1,
            crashes: 1,
            unknowns: 1,
            retentions: 1,
            ..NONE
        };
        Self { name: "small", says: [&[A], NOBODY], order: Order::OnceIn, budget }
    }

    /// One that needs a guard.
    #[must_use]
    pub fn that_needs(guard: Guard) -> Self {
        let race = Budget { claims: 2, ..NONE };
        let moves = Budget { claims: 2, faults: 1, moves: 1, ..NONE };
        let (one, pair, twice) = ([&[A][..], NOBODY], [&[A, B][..], NOBODY], [&[A][..], &[A]]);
        let (says, budget) = match guard {
            Guard::NewRoomsAreRead | Guard::ClaimsAreRepeated => (twice, race),
            Guard::OneEntryPerCmid => (twice, race),
            Guard::HeadIsReadFirst => (twice, moves),
            Guard::OneCmidPerAppend | Guard::StoredComesFirst => (twice, race),
            Guard::NewestRowStays => (one, Budget { retentions: 1, days: 1, ..moves }),
            Guard::YoungRowsStay => (twice, Budget { retentions: 1, ..race }),
            Guard::FenceIsTheLog => (pair, moves),
            Guard::RowBefore => (pair, Budget { restores: 1, ..race }),
            Guard::EpochIsChecked => {
                (one, Budget { restores: 1, cuts: 1, faults: 1, claims: 3, ..NONE })
            }
            Guard::NewEpochAfterRestore => (one, Budget { restores: 1, ..race }),
            Guard::RestFollowsFirst | Guard::UnknownIsNotFailed => {
                (pair, Budget { claims: 2, faults: 1, unknowns: 1, ..NONE })
            }
            Guard::RepeatsAreInOrder => (pair, moves),
            Guard::LastLinkCounts => {
                (one, Budget { claims: 2, faults: 2, releases: 1, cuts: 1, ..NONE })
            }
            Guard::OvertakenIsRefused | Guard::RejoinsWait | Guard::EnterComesFirst => {
                (pair, Budget { claims: 1, faults: 2, refusals: 1, cuts: 1, ..NONE })
            }
        };
        let order = if guard == Guard::HeadIsReadFirst { Order::OnceIn } else { Order::AtOnce };
        Self { name: guard.what(), says, order, budget }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, says) in self.says.iter().enumerate().filter(|(_, says)| !says.is_empty()) {
            let says: Vec<&str> = says.iter().map(|message| message.content()).collect();
            let when = match self.order {
                Order::OnceIn if at == 1 => ", once 0 is in,",
                Order::OnceDone if at == 1 => ", once 0 has its answers,",
                _ => "",
            };
            write!(f, "connector {at}{when} says {}; ", says.join(" and "))?;
        }
        write!(f, "at most {}", self.budget)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |all: &[(u8, &str)]| {
            let some = all.iter().filter(|(count, _)| *count > 0);
            some.map(|(count, what)| format!("{count} × {what}")).collect::<Vec<_>>().join(", ")
        };
        let events = some(&[
            (self.claims, "claim"),
            (self.retentions, "retention"),
            (self.days, "a day"),
            (self.epochs, "new epoch"),
            (self.restores, "restore"),
        ]);
        let faults = some(&[
            (self.cuts, "link lost"),
            (self.moves, "move to another shard"),
            (self.crashes, "crash"),
            (self.releases, "room given up"),
            (self.unknowns, "statement of unknown outcome"),
            (self.refusals, "statement refused"),
        ]);
        f.write_str(&events)?;
        if self.faults > 0 { write!(f, ", {} of: {faults}", self.faults) } else { Ok(()) }
    }
}
