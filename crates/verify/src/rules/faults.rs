//! What was broken, who may have felt it, and what that excuses.

use super::{
    tail::RECOVER,
    world::{Log, SECOND, World},
};
use crate::record::{REPAIR, SCALE};

/// How long before it is seen a repair may have become necessary: links are lost after
/// 3 s of silence, and rooms are taken elsewhere 3 s later.
const SEEN_WITHIN: u64 = 10 * SECOND;

/// How long after it was done a repair is seen.
const SEEN_AFTER: u64 = SECOND;

/// How far the store's time of a claim may be from the record's.
const CLOCKS_DIFFER: u64 = SECOND;

/// A fault, from its beginning until it was mended.
#[derive(Debug)]
pub(crate) struct Fault<'a> {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) kind: &'a str,
    pub(crate) store_stopped: bool,
    /// Connectors and shards that it was done to; none: all.
    pub(crate) touches: Option<&'a [String]>,
}

/// How long a room's new shard may not know all who are in: until the other one and
/// their connectors have heard of its claim (docs/adr/0008).
const MOVE: u64 = SECOND;

/// What may have been felt at one place.
#[derive(Debug, Default)]
pub(crate) struct Excuses<'a> {
    faults: Vec<&'a Fault<'a>>,
    /// When the room changed hands, by the store's clock.
    moves: Vec<u64>,
}

impl Fault<'_> {
    /// From when it may be felt.
    fn from(&self) -> u64 {
        let before = if self.kind == REPAIR { SEEN_WITHIN } else { 0 };
        self.begin.saturating_sub(before)
    }

    /// When all has recovered from it. A repair is itself the recovery, and shards that
    /// are told to come or go leave nothing to recover from.
    fn over(&self) -> u64 {
        match self.kind {
            REPAIR => self.end + SEEN_AFTER,
            SCALE => self.end,
            _ => self.end + RECOVER,
        }
    }

    /// True if it was done to one of these connectors, to a shard that had the room
    /// meanwhile, or if the room changed hands meanwhile.
    fn is_felt(&self, log: Option<&Log<'_>>, connectors: &[&str]) -> bool {
        let Some(touches) = self.touches else { return true };
        let is_named = |name: &str| touches.iter().any(|touched| touched == name);
        if connectors.iter().any(|connector| is_named(connector)) {
            return true;
        }
        let Some(log) = log.filter(|log| !log.claims.is_empty()) else { return true };
        let from = self.from().saturating_sub(CLOCKS_DIFFER);
        let to = self.over() + CLOCKS_DIFFER;
        let until = log.claims.iter().skip(1).map(|claim| claim.at).chain([u64::MAX]);
        log.claims.iter().zip(until).enumerate().any(|(number, (claim, until))| {
            let had_it = claim.at <= to && until >= from;
            had_it && (is_named(claim.by) || (number > 0 && claim.at >= from))
        })
    }
}

impl World<'_> {
    /// True if the faults of the run may have lost entries.
    pub(crate) fn may_lose(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind == "new-epoch")
    }

    /// What sessions at these connectors may have felt in a room.
    pub(crate) fn excuses(&self, room: &str, connectors: &[&str]) -> Excuses<'_> {
        let log = self.logs.get(room);
        let faults = self.faults.iter().filter(|fault| fault.is_felt(log, connectors)).collect();
        let claims = log.iter().flat_map(|log| log.claims.iter().skip(1));
        Excuses { faults, moves: claims.map(|claim| claim.at).collect() }
    }
}

impl Excuses<'_> {
    /// Without rooms that move and shards that come and go as they are told to: nothing
    /// may get lost or late by that.
    pub(crate) fn unplanned(self) -> Self {
        let faults = self.faults.into_iter().filter(|fault| fault.kind != SCALE).collect();
        Self { faults, moves: Vec::new() }
    }

    /// `within` after `from`, or after the recovery from what was felt by then.
    pub(crate) fn due(&self, from: u64, within: u64) -> u64 {
        let mut due = from + within;
        let faults = self.faults.iter().map(|fault| (fault.from(), fault.over()));
        for (begin, over) in faults.chain(self.moves()) {
            if over > from && begin < due {
                due = due.max(over + within);
            }
        }
        due
    }

    /// True if something was felt between `from` and `to`; `longer` after all has
    /// recovered from a fault, too.
    pub(crate) fn is_disturbed(&self, from: u64, to: u64, longer: u64) -> bool {
        let faults = self.faults.iter().map(|fault| {
            let longer = if fault.kind == REPAIR { 0 } else { longer };
            (fault.from(), fault.over() + longer)
        });
        faults.chain(self.moves()).any(|(begin, over)| begin <= to && over >= from)
    }

    fn moves(&self) -> impl Iterator<Item = (u64, u64)> {
        self.moves.iter().map(|at| (at.saturating_sub(CLOCKS_DIFFER), at + CLOCKS_DIFFER + MOVE))
    }
}
