//! The rules of the delivery contract, each as a function over a record.

mod access;
mod faults;
mod log;
mod order;
mod resume;
mod rosters;
mod sends;
mod tail;
#[cfg(test)]
mod tests;
mod world;

use std::fmt;

use crate::record::Line;
use world::World;

/// Number and name of each rule.
pub const RULES: &[(u8, &str)] = &[
    (1, "dense"),
    (2, "immutable"),
    (3, "ack means durable"),
    (4, "nothing before its commit"),
    (5, "idempotent"),
    (6, "fenced"),
    (7, "in order, once, without holes"),
    (8, "tail within 5 s"),
    (9, "verdict"),
    (10, "asked again"),
    (11, "one session per name and room"),
    (12, "rosters converge, without numbers"),
    (13, "unknown is resolved"),
    (14, "whispers"),
    (15, "first in, first out"),
];

const CHECKS: &[fn(&World<'_>, &mut Judge)] = &[
    log::dense,
    log::immutable,
    sends::durable,
    sends::committed,
    sends::idempotent,
    log::fenced,
    order::without_holes,
    tail::in_time,
    resume::verdicts,
    access::asked_again,
    access::one_session,
    rosters::converge,
    sends::resolved,
    access::whispers,
    order::first_in_first_out,
];

/// Lines of a record that an excerpt shows at most.
const EXCERPT_MAX: usize = 8;

/// What became of one rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Its number.
    pub rule: u8,
    /// Its name.
    pub name: &'static str,
    /// How often it was checked.
    pub checked: u64,
    /// How often it was broken.
    pub broken: u64,
    /// One of the times that it was broken: what is wrong, and the lines that show it.
    pub excerpt: Option<Excerpt>,
}

/// Why a rule is broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Excerpt {
    /// What is wrong.
    pub what: String,
    /// Lines of the record, by number from 0.
    pub lines: Vec<usize>,
}

impl Outcome {
    /// True if the rule was checked, and never broken.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.checked > 0 && self.broken == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, name, checked, broken, .. } = self;
        write!(f, "{rule:>2}  {name:<34}{checked:>10}{broken:>10}")
    }
}

/// Checks every rule on a record, in order of their numbers.
#[must_use]
pub fn check(lines: &[Line]) -> Vec<Outcome> {
    let world = World::new(lines);
    let rules = RULES.iter().zip(CHECKS);
    let outcomes = rules.map(|((rule, name), check)| {
        let mut judge = Judge::default();
        if !lines.is_empty() {
            check(&world, &mut judge);
        }
        let Judge { checked, broken, excerpt } = judge;
        Outcome { rule: *rule, name, checked, broken, excerpt }
    });
    outcomes.collect()
}

/// Counts, and keeps the shortest excerpt.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    checked: u64,
    broken: u64,
    excerpt: Option<Excerpt>,
}

impl Judge {
    /// Counts one check; `lines` show why it fails, if it does.
    pub(crate) fn check(&mut self, is_kept: bool, lines: &[usize], what: impl FnOnce() -> String) {
        self.checked += 1;
        if is_kept {
            return;
        }
        self.broken += 1;
        let is_shorter = |known: &Excerpt| known.lines.len() > lines.len();
        if self.excerpt.as_ref().is_none_or(is_shorter) {
            let mut lines = lines.to_vec();
            lines.sort_unstable();
            lines.dedup();
            lines.truncate(EXCERPT_MAX);
            self.excerpt = Some(Excerpt { what: what(), lines });
        }
    }

    /// Counts a violation of what is checked by the way.
    pub(crate) fn broken(&mut self, lines: &[usize], what: impl FnOnce() -> String) {
        self.check(false, lines, what);
    }
}
