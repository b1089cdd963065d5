//! Rule 12: rosters.

use std::collections::BTreeSet;

use super::{
    Judge,
    tail::RECOVER,
    world::{SECOND, Stay, World},
};
use crate::record::Event;

/// How long after the last fault rosters may differ.
const WITHIN: u64 = 20 * SECOND;

/// Who came or went so shortly before may not be in every roster.
const ON_THE_WAY: u64 = 5 * SECOND;

/// 12: 20 s after the last fault, every roster is who is there; coming and going has
/// no number, and is told once.
pub(crate) fn converge(world: &World<'_>, judge: &mut Judge) {
    for stay in &world.stays {
        once_each(world, stay, judge);
    }
    for (begin, end) in &world.quiets {
        if world.at(*end) < world.at(*begin) + WITHIN {
            continue;
        }
        let is_in = |stay: &&Stay<'_>| stay.entered < *end && world.ended(stay) >= *end;
        for stay in world.stays.iter().filter(is_in) {
            converged(world, stay, *end, judge);
        }
    }
}

fn converged(world: &World<'_>, stay: &Stay<'_>, end: usize, judge: &mut Judge) {
    let (mut there, mut unsure, mut shows) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let is_near = |line: usize| world.at(line).abs_diff(world.at(end)) <= ON_THE_WAY;
    for other in world.stays.iter().filter(|other| other.room == stay.room) {
        if other.entered < end && world.ended(other) >= end {
            there.insert(other.name);
            shows.push(other.entered);
        }
        if is_near(other.asked) || is_near(other.entered) || other.ended.is_some_and(is_near) {
            unsure.insert(other.name);
        }
    }
    let roster = roster(world, stay, end);
    let differs = |name: &&&str| !unsure.contains(**name);
    let missing: Vec<_> = there.difference(&roster).filter(differs).collect();
    let ghosts: Vec<_> = roster.difference(&there).filter(differs).collect();
    judge.check(missing.is_empty() && ghosts.is_empty(), &[stay.entered, end], || {
        let name = stay.name;
        format!("{}: in the roster of {name}, missing {missing:?}, ghosts {ghosts:?}", stay.room)
    });
}

/// Who a session thinks is there at some line.
fn roster<'a>(world: &World<'a>, stay: &Stay<'_>, end: usize) -> BTreeSet<&'a str> {
    let mut roster = BTreeSet::new();
    if let Event::Entered { users, .. } = &world.lines[stay.entered].event {
        roster.extend(users.iter().map(String::as_str));
    }
    for &line in stay.seen.iter().take_while(|line| **line < end) {
        match &world.lines[line].event {
            Event::Came { user, .. } => drop(roster.insert(user.as_str())),
            Event::Went { user, .. } => drop(roster.remove(user.as_str())),
            _ => {}
        }
    }
    roster
}

fn once_each(world: &World<'_>, stay: &Stay<'_>, judge: &mut Judge) {
    let mut roster = BTreeSet::new();
    if let Event::Entered { users, .. } = &world.lines[stay.entered].event {
        roster.extend(users.iter().map(String::as_str));
    }
    for &line in &stay.seen {
        let (is_news, numbered, what, user) = match &world.lines[line].event {
            Event::Came { user, numbered, .. } => {
                (roster.insert(user.as_str()), numbered, "came", user)
            }
            Event::Went { user, numbered, .. } => {
                (roster.remove(user.as_str()), numbered, "left", user)
            }
            _ => continue,
        };
        // While views differ, a name may come and go more than once.
        let (from, to) = (world.at(stay.entered), world.at(line));
        let from = from.max(to.saturating_sub(RECOVER));
        let is_news = is_news || {
            let theirs = world
                .stays
                .iter()
                .filter(|other| (other.room, other.name) == (stay.room, user.as_str()));
            let connectors = theirs.map(|other| other.connector).chain([stay.connector]);
            let excuses = world.excuses(stay.room, &connectors.collect::<Vec<_>>());
            excuses.is_disturbed(from, to, 0)
        };
        judge.check(is_news && !numbered, &[stay.entered, line], || {
            format!("{}: {} is told that {user} {what}, which is no news", stay.room, stay.name)
        });
    }
}
