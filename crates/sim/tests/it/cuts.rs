//! Links that are cut, one way or both, and networks that are slow.

use std::time::Duration;

use sim::{Fault, Plan};

use crate::{acked, calm, couples, is_quiet, noise, secs, try_all};

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
