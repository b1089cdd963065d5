//! The whole system under faults, in virtual time.
//!
//! `SEEDS=500 cargo test -p sim` tries more of what chance can do; a failure names
//! the seed and the command that repeats it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bugs;
mod chaos;
mod claimers;
mod crashes;
mod cuts;
mod durable;
mod planted;
mod repeatable;
mod views;

use std::time::Duration;

use sim::{Calm, Event, Outcome, Person, Plan, check};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The seeds to try: `SEED` alone, or as many as `SEEDS` says.
fn seeds(default: u64) -> Vec<u64> {
    let read = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match read("SEED") {
        Some(seed) => vec![seed],
        None => (0..read("SEEDS").unwrap_or(default)).collect(),
    }
}

/// Runs `plan` with every seed, and checks what its people saw; `more` checks what
/// this test is about.
fn try_all(plan: impl Fn(u64) -> (Plan, Calm), more: impl Fn(&Outcome) -> Result<(), String>) {
    for seed in seeds(2) {
        let (plan, calm) = plan(seed);
        let outcome = plan.run();
        let mut wrong: Vec<String> =
            check(&outcome.record, &calm).iter().map(ToString::to_string).collect();
        wrong.extend(outcome.broken.clone());
        wrong.extend(more(&outcome).err());
        if wrong.is_empty() {
            continue;
        }
        let test = std::thread::current().name().unwrap().to_owned();
        // Whoever repeats it wants to see all of it.
        let seen = std::env::var("SEED").map(|_| format!("{:#?}\n{}", plan.faults, outcome.record));
        wrong.truncate(20);
        panic!(
            "{}\nseed {seed}:\n{}\nrepeat: SEED={seed} cargo test -p sim --test it -- --exact {test}",
            seen.unwrap_or_default(),
            wrong.join("\n")
        );
    }
}

/// Two couples in one room, each on two connectors, who also whisper.
fn couples(mut plan: Plan) -> Plan {
    let names = ["ann", "bob", "cat", "dan"];
    for (n, name) in names.iter().enumerate() {
        let mut person = Person::new(name, &format!("connector-{}", n % 2), "r");
        person.confides_in = names.iter().filter(|n| *n != name).map(ToString::to_string).collect();
        plan.people.push(person);
    }
    plan
}

/// The shard that serves a room when all see all.
fn owner(plan: &Plan, room: &str) -> String {
    let ids: Vec<model::ShardId> = plan.shards.iter().map(|id| id.parse().unwrap()).collect();
    model::owner(&model::RoomId::parse(room).unwrap(), &ids).unwrap().to_string()
}

/// Nothing is excused but what takes time until `since`.
fn calm(plan: &Plan, since: Duration) -> Calm {
    Calm { since, end: plan.length, lost: Vec::new() }
}

/// Who came or left after everybody had come, as `"ann: bob left"`.
fn noise(outcome: &Outcome) -> Vec<String> {
    let after = outcome.record.0.iter().filter(|seen| seen.at > secs(5));
    let line = after.filter_map(|seen| match &seen.event {
        Event::Came(name) => Some(format!("{}: {name} came", seen.name)),
        Event::Left(name) => Some(format!("{}: {name} left", seen.name)),
        Event::Closed { reason, .. } => Some(format!("{} was closed: {reason}", seen.name)),
        _ => None,
    });
    let mut lines: Vec<String> = line.collect();
    lines.sort();
    lines
}

/// Nobody noticed anything.
fn is_quiet(outcome: &Outcome) -> Result<(), String> {
    let noise = noise(outcome);
    if noise.is_empty() { Ok(()) } else { Err(noise.join("\n")) }
}

/// How many messages were acknowledged between two times.
fn acked(outcome: &Outcome, from: Duration, to: Duration) -> usize {
    let within = outcome.record.0.iter().filter(|seen| from <= seen.at && seen.at < to);
    within
        .filter(|seen| matches!(&seen.event, Event::Answered { code: 200, users, .. } if users.is_empty()))
        .count()
}
