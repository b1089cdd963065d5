//! Links that are cut, one way or both, and networks that are slow.

use std::time::Duration;

use sim::{Calm, Event, Fault, Plan};

use crate::{acked, calm, couples, is_quiet, noise, owner, secs, try_all};

fn one_shard(seed: u64) -> Plan {
    let mut plan = couples(Plan::new(seed));
    plan.shards.truncate(1);
    plan
}

fn link() -> (String, String) {
    ("connector-0".into(), "chat-0".into())
}

#[test]
fn without_faults_everybody_hears_everything() {
    try_all(
        |seed| {
            let mut plan = couples(Plan::new(seed));
            plan.people[3].leaves = Some(secs(20));
            let calm = calm(&plan, secs(5));
            (plan, calm)
        },
        |outcome| {
            let left = ["ann: dan left", "bob: dan left", "cat: dan left", "dan was closed: "];
            let noise = noise(outcome);
            if noise != left {
                return Err(noise.join("\n"));
            }
            match acked(outcome, secs(2), secs(30)) {
                200.. => Ok(()),
                few => Err(format!("only {few} messages")),
            }
        },
    );
}

#[test]
fn a_cut_that_is_shorter_than_the_grace_is_noticed_by_nobody() {
    try_all(
        |seed| {
            let ((a, b), mend) = (link(), secs(12 + seed % 7));
            let plan = one_shard(seed)
                .with(secs(10), Fault::Cut(a.clone(), b.clone()))
                .with(mend, Fault::Mend(a, b));
            let calm = calm(&plan, mend);
            (plan, calm)
        },
        is_quiet,
    );
}

#[test]
fn a_cut_that_is_longer_than_the_grace_is_one_leave_and_one_return() {
    try_all(
        |seed| {
            let (a, b) = link();
            let plan = one_shard(seed)
                .with(secs(10), Fault::Cut(a.clone(), b.clone()))
                .with(secs(32), Fault::Mend(a, b));
            let calm = calm(&plan, secs(32));
            (plan, calm)
        },
        |outcome| {
            let expected = [
                "bob: ann came",
                "bob: ann left",
                "bob: cat came",
                "bob: cat left",
                "dan: ann came",
                "dan: ann left",
                "dan: cat came",
                "dan: cat left",
            ];
            let noise = noise(outcome);
            if noise == expected { Ok(()) } else { Err(noise.join("\n")) }
        },
    );
}

#[test]
fn a_room_that_a_cut_tore_in_two_is_one_again_when_it_is_mended() {
    try_all(
        |seed| {
            let plan = couples(Plan::new(seed));
            let (a, b) = ("connector-0".to_owned(), owner(&plan, "r"));
            let mend = secs(24 + seed % 6);
            let mut plan =
                plan.with(secs(10), Fault::Cut(a.clone(), b.clone())).with(mend, Fault::Mend(a, b));
            plan.length = secs(70);
            // Without a common store each half has a log of its own meanwhile, and
            // nobody has both.
            let calm = Calm { lost: vec![(secs(9), mend + secs(5))], ..calm(&plan, mend) };
            (plan, calm)
        },
        |outcome| {
            // They were served elsewhere before it was mended.
            let is_served = |seen: &sim::Seen| {
                seen.name == "ann"
                    && (secs(20)..secs(24)).contains(&seen.at)
                    && matches!(seen.event, Event::Answered { code: 200, .. })
            };
            match outcome.record.0.iter().any(is_served) {
                true => Ok(()),
                false => Err("ann is not served behind the cut".into()),
            }
        },
    );
}

#[test]
fn a_link_that_is_deaf_on_one_side_is_opened_again() {
    for to_shard in [true, false] {
        try_all(
            |seed| {
                let (a, b) = link();
                let cut = match to_shard {
                    true => Fault::CutOneWay(a.clone(), b.clone()),
                    false => Fault::CutOneWay(b.clone(), a.clone()),
                };
                let mend = secs(13 + seed % 5);
                let plan = one_shard(seed).with(secs(10), cut).with(mend, Fault::Mend(a, b));
                let calm = calm(&plan, mend);
                (plan, calm)
            },
            is_quiet,
        );
    }
}

#[test]
fn a_link_that_stalls_for_a_while_loses_nothing() {
    try_all(
        |seed| {
            let ((a, b), until) = (link(), secs(10) + Duration::from_millis(500 + seed % 8 * 700));
            let plan = one_shard(seed)
                .with(secs(10), Fault::Hold(a.clone(), b.clone()))
                .with(until, Fault::Release(a, b));
            let calm = calm(&plan, until);
            (plan, calm)
        },
        is_quiet,
    );
}

#[test]
fn a_slow_network_changes_nothing_but_the_time() {
    try_all(
        |seed| {
            let mut plan = couples(Plan::new(seed));
            plan.latency = Duration::from_millis(400);
            let calm = calm(&plan, secs(10));
            (plan, calm)
        },
        is_quiet,
    );
}

#[test]
fn whatever_happens_to_links_nobody_misses_anything() {
    try_all(
        |seed| {
            let mut plan = one_shard(seed);
            plan.shards = vec!["chat-0".into()];
            let rng = chassis::Rng::seeded(seed);
            let mut at = secs(6);
            for _ in 0..4 {
                let (a, b) = (format!("connector-{}", rng.u64() % 2), "chat-0".to_owned());
                at += rng.up_to(secs(4));
                let (fault, mended) = match rng.u64() % 4 {
                    0 => (Fault::Cut(a.clone(), b.clone()), Fault::Mend(a, b)),
                    1 => (Fault::CutOneWay(a.clone(), b.clone()), Fault::Mend(a, b)),
                    2 => (Fault::CutOneWay(b.clone(), a.clone()), Fault::Mend(a, b)),
                    _ => (Fault::Hold(a.clone(), b.clone()), Fault::Release(a, b)),
                };
                plan = plan.with(at, fault);
                at += rng.up_to(secs(6));
                plan = plan.with(at, mended);
            }
            plan.length = secs(70);
            let calm = calm(&plan, at);
            (plan, calm)
        },
        |_| Ok(()),
    );
}

#[test]
fn whatever_is_cut_among_many_everybody_finds_together_again() {
    try_all(
        |seed| {
            let mut plan = couples(Plan::new(seed));
            plan.shards.push("chat-2".into());
            let rng = chassis::Rng::seeded(seed);
            let pick = |of: &[&str]| of[usize::try_from(rng.u64()).unwrap() % of.len()].to_owned();
            let shards = ["chat-0", "chat-1", "chat-2"];
            let mut last = Duration::ZERO;
            for _ in 0..6 {
                let (a, b) = (pick(&["connector-0", "connector-1", "chat-0"]), pick(&shards));
                if a == b {
                    continue;
                }
                let at = secs(6) + rng.up_to(secs(14));
                let mended = at + rng.up_to(secs(14));
                last = last.max(mended);
                let cut = match rng.u64() % 3 {
                    0 => Fault::Cut(a.clone(), b.clone()),
                    1 => Fault::CutOneWay(a.clone(), b.clone()),
                    _ => Fault::CutOneWay(b.clone(), a.clone()),
                };
                plan = plan.with(at, cut).with(mended, Fault::Mend(a, b));
            }
            plan.length = last + secs(45);
            let calm = Calm { lost: vec![(secs(5), last + secs(10))], ..calm(&plan, last) };
            (plan, calm)
        },
        |_| Ok(()),
    );
}
