//! Processes that die, and come back.

use std::time::Duration;

use sim::{Calm, Event, Fault, Outcome, Plan};

use crate::{acked, calm, couples, is_quiet, noise, owner, secs, try_all};

/// What a shard that dies at `at` takes along: what was under way, and what had
/// reached some of the people only.
fn lost_with_a_shard(plan: &Plan, at: Duration) -> Calm {
    Calm { lost: vec![(at.saturating_sub(secs(1)), at)], ..calm(plan, at) }
}

/// Messages are acknowledged again within five seconds after the crash.
fn works_again_after(outcome: &Outcome, at: Duration) -> Result<(), String> {
    match acked(outcome, at + Duration::from_millis(100), at + secs(5)) {
        0 => Err("nothing works five seconds after the crash".into()),
        _ => Ok(()),
    }
}

#[test]
fn rooms_of_a_dead_shard_go_to_another_and_nobody_has_to_enter_again() {
    let at = secs(12);
    try_all(
        |seed| {
            let plan = couples(Plan::new(seed));
            let owner = owner(&plan, "r");
            let plan = plan.with(at, Fault::Crash(owner));
            let calm = lost_with_a_shard(&plan, at);
            (plan, calm)
        },
        |outcome| {
            works_again_after(outcome, at)?;
            is_quiet(outcome)
        },
    );
}

#[test]
fn a_shard_that_restarts_goes_on_with_those_who_were_there() {
    let at = secs(12);
    try_all(
        |seed| {
            let mut plan = couples(Plan::new(seed));
            if seed % 2 == 0 {
                plan.shards.truncate(1);
            }
            let owner = owner(&plan, "r");
            let plan = plan.with(at, Fault::Restart(owner));
            let calm = lost_with_a_shard(&plan, at);
            (plan, calm)
        },
        |outcome| {
            works_again_after(outcome, at)?;
            is_quiet(outcome)
        },
    );
}

#[test]
fn people_of_a_dead_connector_leave_once_and_come_back_under_their_names() {
    try_all(
        |seed| {
            let plan = couples(Plan::new(seed)).with(secs(12), Fault::Crash("connector-0".into()));
            let back = secs(if seed % 2 == 0 { 15 } else { 30 });
            let plan = plan.with(back, Fault::Restart("connector-0".into()));
            let calm = calm(&plan, back);
            (plan, calm)
        },
        |outcome| {
            // At most once: a return within the grace is silent.
            let mut noise = noise(outcome);
            noise.retain(|line| line.starts_with("bob") || line.starts_with("dan"));
            let mut heard = noise.clone();
            heard.dedup();
            if heard != noise {
                return Err(noise.join("\n"));
            }
            let back = |name: &str| {
                outcome.record.0.iter().any(|seen| {
                    seen.name == name
                        && seen.session > 1
                        && matches!(&seen.event, Event::Answered { code: 200, users, .. } if !users.is_empty())
                })
            };
            if back("ann") && back("cat") { Ok(()) } else { Err("somebody stays away".into()) }
        },
    );
}

#[test]
fn people_of_a_connector_that_is_stopped_are_sent_away_and_come_back_unnoticed() {
    try_all(
        |seed| {
            let plan = couples(Plan::new(seed)).with(secs(12), Fault::Stop("connector-0".into()));
            let plan = plan.with(secs(18), Fault::Restart("connector-0".into()));
            let calm = calm(&plan, secs(18));
            (plan, calm)
        },
        |outcome| {
            let noise = noise(outcome);
            let was_told = |name: &str| {
                let line = format!("{name} was closed: {{\"reason\":\"draining: ");
                noise.iter().any(|heard| heard.starts_with(&line))
            };
            if !was_told("ann") || !was_told("cat") {
                return Err(noise.join("\n"));
            }
            // On the other connector nobody hears of it.
            let heard =
                noise.iter().filter(|line| line.starts_with("bob") || line.starts_with("dan"));
            let heard: Vec<_> = heard.cloned().collect();
            if heard.is_empty() { Ok(()) } else { Err(heard.join("\n")) }
        },
    );
}

#[test]
fn people_whose_connector_died_with_their_shard_leave_once() {
    try_all(
        |seed| {
            let plan = couples(Plan::new(seed));
            let owner = owner(&plan, "r");
            let plan = plan
                .with(secs(12), Fault::Crash("connector-0".into()))
                .with(secs(12), Fault::Crash(owner));
            let calm = lost_with_a_shard(&plan, secs(12));
            (plan, calm)
        },
        |outcome| {
            // The new shard never knew them: their connector would have brought them.
            let mut noise = noise(outcome);
            noise.retain(|line| line.starts_with("bob") || line.starts_with("dan"));
            let expected = ["bob: ann left", "bob: cat left", "dan: ann left", "dan: cat left"];
            if noise == expected { Ok(()) } else { Err(noise.join("\n")) }
        },
    );
}

#[test]
fn all_shards_restart_at_once() {
    try_all(
        |seed| {
            let plan = couples(Plan::new(seed))
                .with(secs(12), Fault::Restart("chat-0".into()))
                .with(secs(12), Fault::Restart("chat-1".into()));
            let calm = lost_with_a_shard(&plan, secs(12));
            (plan, calm)
        },
        is_quiet,
    );
}

#[test]
fn whatever_dies_everybody_finds_together_again() {
    try_all(
        |seed| {
            let mut plan = couples(Plan::new(seed));
            plan.shards.push("chat-2".into());
            let rng = chassis::Rng::seeded(seed);
            let mut at = secs(6);
            for _ in 0..4 {
                let all = ["chat-0", "chat-1", "chat-2", "connector-0", "connector-1"];
                let host = all[(rng.u64() % 5) as usize].to_owned();
                at += rng.up_to(secs(5));
                plan = plan.with(at, Fault::Crash(host.clone()));
                at += rng.up_to(secs(5));
                plan = plan.with(at, Fault::Restart(host));
            }
            plan.length = secs(75);
            let calm = Calm { lost: vec![(secs(5), at + secs(5))], ..calm(&plan, at) };
            (plan, calm)
        },
        |_| Ok(()),
    );
}
