//! Each fault of the contract's list that a cluster whose shards share a log can meet,
//! by itself.

use std::time::Duration;

use sim::{Fault, Habit, Plan, SharedLog, Talker, Trouble, Weather, judge};

use crate::{owner, secs, seeds};

/// Two shards with one log, two connectors, and six people in two rooms.
fn cluster(seed: u64) -> Plan {
    let mut plan = Plan::new(seed);
    plan.shared = Some(SharedLog::default());
    plan.views = true;
    let names = ["ann", "bob", "cat", "dan", "eve", "fay"];
    for (n, name) in names.iter().enumerate() {
        let room = if n < 4 { "r" } else { "s" };
        let mut talker = Talker::new(name, &format!("connector-{}", n % 2), room);
        talker.confides_in = vec!["ann".into(), "bob".into(), "eve".into()];
        plan.talkers.push(if n % 3 == 2 { talker.plain() } else { talker });
    }
    plan
}

/// The same, whose extended sessions do something beside talking.
fn with_habits(seed: u64, habits: &[Habit], unrest_ms: u64) -> Plan {
    let mut plan = cluster(seed);
    for talker in &mut plan.talkers {
        talker.habits = habits.to_vec();
        talker.unrest = Duration::from_millis(unrest_ms);
        talker.connectors = plan.connectors.clone();
    }
    plan
}

fn trouble(
    kind: &'static str,
    from: Duration,
    to: Duration,
    begins: Vec<Fault>,
    ends: Vec<Fault>,
) -> Trouble {
    Trouble { kind, from, to, begins, ends, stops_store: false }
}

/// Lets people talk for a while after the last trouble, and then waits for silence.
pub(crate) fn until_calm(mut plan: Plan) -> Plan {
    let calm = plan.calm_since().max(secs(8));
    for talker in &mut plan.talkers {
        talker.talks_until = calm + secs(8);
    }
    plan.length = calm + secs(22);
    plan
}

/// No rule is broken, whatever chance makes of it.
fn holds(plan: impl Fn(u64) -> Plan) {
    for seed in seeds(1) {
        let plan = until_calm(plan(seed));
        let outcome = plan.run();
        let judged = judge(&outcome);
        let acked = judged.rules.iter().find(|rule| rule.rule == 3).unwrap().checked;
        assert!(acked > 20, "only {acked} messages were acknowledged");
        let test = std::thread::current().name().unwrap().to_owned();
        assert!(
            judged.wrong.is_empty(),
            "{}\nrepeat: SEED={seed} cargo test -p sim --test it -- --exact {test}",
            judged.wrong.join("\n")
        );
    }
}

fn weather(shard: &str, weather: Weather) -> Fault {
    Fault::Weather(shard.into(), weather)
}

/// One shard's way to the store, for a while.
fn under(plan: Plan, shards: &[String], how: Weather, to: Duration) -> Plan {
    let all = |how| shards.iter().map(|shard| weather(shard, how)).collect();
    plan.during(trouble("store", secs(6), to, all(how), all(Weather::Fine)))
}

// === the way to the store ===

#[test]
fn what_becomes_of_an_append_is_found_out() {
    holds(|seed| {
        let plan = with_habits(seed, &[Habit::Bursts, Habit::Repeats], 1500);
        let shards = plan.shards.clone();
        under(plan, &shards, Weather::Odd, secs(16))
    });
}

#[test]
fn a_shard_killed_between_commit_and_answer_has_stored_it_once() {
    holds(|seed| {
        let plan = with_habits(seed, &[Habit::Bursts], 1500);
        let owner = owner(&plan, "r");
        let plan = under(plan, std::slice::from_ref(&owner), Weather::Mute, secs(8));
        let (crash, restart) = (Fault::Crash(owner.clone()), Fault::Restart(owner));
        let killed = secs(7) + Duration::from_millis(seed % 7 * 130);
        plan.during(trouble("kill", killed, secs(10), vec![crash], vec![restart]))
    });
}

#[test]
fn a_store_that_one_shard_cannot_reach_is_reached_by_the_other() {
    for how in [Weather::Unreachable, Weather::Mute, Weather::ReadOnly] {
        holds(|seed| {
            let plan = cluster(seed);
            let owner = owner(&plan, "r");
            under(plan, &[owner], how, secs(16))
        });
    }
}

#[test]
fn a_store_that_is_away_read_only_or_slow_for_all_loses_nothing() {
    for how in [Weather::Unreachable, Weather::ReadOnly, Weather::Slow(secs(5))] {
        holds(|seed| {
            let plan = cluster(seed);
            let shards = plan.shards.clone();
            under(plan, &shards, how, secs(13)).with(secs(9), Fault::RestartStore)
        });
    }
}

#[test]
fn a_store_that_restarts_carries_out_some_of_what_was_on_its_way() {
    holds(|seed| {
        let mut plan = with_habits(seed, &[Habit::Bursts], 700);
        let shards = plan.shards.clone();
        plan = under(plan, &shards, Weather::Slow(Duration::from_millis(300)), secs(12));
        (0..12).fold(plan, |plan, n| {
            plan.with(secs(6) + Duration::from_millis(n * 450), Fault::RestartStore)
        })
    });
}

// === who serves a room ===

#[test]
fn a_shard_frozen_for_30_s_does_not_write_when_it_goes_on() {
    holds(|seed| {
        let plan = with_habits(seed, &[Habit::Bursts, Habit::Reads], 1500);
        let owner = owner(&plan, "r");
        let (freeze, thaw) = (Fault::Freeze(owner.clone()), Fault::Thaw(owner));
        let plan = plan.during(trouble("freeze", secs(6), secs(36), vec![freeze], vec![thaw]));
        // Meanwhile all that it knows is taken.
        (0..5).fold(plan, |plan, n| plan.with(secs(15 + 4 * n), Fault::Retain(30 - n)))
    });
}

#[test]
fn two_shards_claim_new_rooms_at_once() {
    holds(|seed| {
        let mut plan = cluster(seed);
        let see = |host: &str, shards: &[&str]| {
            Fault::See(host.into(), shards.iter().map(ToString::to_string).collect())
        };
        let split = vec![
            see("chat-0", &["chat-0"]),
            see("chat-1", &["chat-1"]),
            see("connector-0", &["chat-0"]),
            see("connector-1", &["chat-1"]),
        ];
        let both = |host: &str| see(host, &["chat-0", "chat-1"]);
        let hosts = ["chat-0", "chat-1", "connector-0", "connector-1"];
        let one = hosts.iter().map(|host| both(host)).collect();
        for talker in &mut plan.talkers {
            talker.comes = secs(2);
        }
        plan.during(trouble("views", secs(1), secs(14), split, one))
    });
}

#[test]
fn views_that_differ_for_20_s_in_any_combination_lose_nothing() {
    // `SEEDS=36` tries all of them.
    holds(|seed| {
        let plan = cluster(seed);
        let number = usize::try_from(seed % 36).unwrap();
        let (zero, one, both) = (vec![0], vec![1], vec![0, 1]);
        let seen = [
            ("chat-0", [&both, &zero, &both][number % 2]),
            ("chat-1", [&both, &one, &both][number / 2 % 2]),
            ("connector-0", [&zero, &one, &both][number / 4 % 3]),
            ("connector-1", [&one, &both, &zero][number / 12 % 3]),
        ];
        let see = |(host, seen): (&str, &Vec<usize>)| {
            Fault::See(host.into(), seen.iter().map(|n| format!("chat-{n}")).collect())
        };
        let begins = seen.into_iter().map(see).collect();
        let ends = seen.into_iter().map(|(host, _)| see((host, &both))).collect();
        plan.during(trouble("views", secs(6), secs(26), begins, ends))
    });
}

#[test]
fn any_two_processes_that_hear_no_more_of_each_other_lose_nothing() {
    holds(|seed| {
        let plan = cluster(seed);
        let (owner, other) = (owner(&plan, "r"), owner_not(&plan, "r"));
        let cut = |a: &str, b: &str| Fault::Cut(a.into(), b.into());
        let mend = |a: &str, b: &str| Fault::Mend(a.into(), b.into());
        let one_way = Fault::CutOneWay(owner.clone(), "connector-0".into());
        plan.during(trouble(
            "cut",
            secs(5),
            secs(11),
            vec![cut(&owner, "connector-1")],
            vec![mend(&owner, "connector-1")],
        ))
        .during(trouble(
            "cut",
            secs(6),
            secs(12),
            vec![cut(&owner, &other)],
            vec![mend(&owner, &other)],
        ))
        .during(trouble(
            "cut",
            secs(16),
            secs(21),
            vec![one_way],
            vec![mend(&owner, "connector-0")],
        ))
    });
}

fn owner_not(plan: &Plan, room: &str) -> String {
    let owner = owner(plan, room);
    plan.shards.iter().find(|shard| **shard != owner).unwrap().clone()
}

#[test]
fn shards_grow_from_three_to_six_and_shrink_to_two_under_load() {
    holds(|seed| {
        let mut plan = cluster(seed);
        plan.shards = (0..6).map(|n| format!("chat-{n}")).collect();
        let hosts: Vec<String> = plan.shards.iter().chain(&plan.connectors).cloned().collect();
        let see = |count: usize| {
            let seen: Vec<String> = (0..count).map(|n| format!("chat-{n}")).collect();
            hosts.iter().map(|host| Fault::See(host.clone(), seen.clone())).collect::<Vec<_>>()
        };
        for fault in see(3) {
            plan = plan.with(Duration::ZERO, fault);
        }
        let rolling = |plan: Plan, from: Duration, faults: Vec<Fault>| {
            let step = Duration::from_millis(40);
            let to = from + step * u32::try_from(faults.len()).unwrap();
            let plan = plan.during(trouble("scale", from, to, Vec::new(), Vec::new()));
            faults
                .into_iter()
                .zip(0..)
                .fold(plan, |plan, (fault, n)| plan.with(from + step * n, fault))
        };
        plan = rolling(plan, secs(6), see(6));
        rolling(plan, secs(11), see(2))
    });
}

#[test]
fn all_processes_restart_at_once_and_nothing_is_gone() {
    holds(|seed| {
        let plan = with_habits(seed, &[Habit::Bursts], 1500);
        let hosts = plan.shards.iter().chain(&plan.connectors);
        let restart = hosts.cloned().map(Fault::Restart).collect();
        plan.during(trouble("kill-all", secs(8), secs(8), restart, Vec::new()))
    });
}

#[test]
fn a_room_that_is_unloaded_while_somebody_comes_is_whole() {
    holds(|seed| {
        let mut plan = with_habits(seed, &[Habit::Wanders, Habit::Hangs], 1200);
        plan.room_idle = Some(Duration::from_millis(600));
        for talker in &mut plan.talkers {
            talker.rooms = vec!["r".into(), "s".into(), "t".into()];
        }
        plan.during(trouble("none", secs(18), secs(18), Vec::new(), Vec::new()))
    });
}

#[test]
fn a_new_epoch_under_running_shards_is_told_to_everybody() {
    holds(|seed| {
        let plan = with_habits(seed, &[Habit::Hangs, Habit::Reads], 2500);
        let (restore, renew) = (vec![Fault::Restore], vec![Fault::NewEpoch]);
        plan.during(trouble("new-epoch", secs(8), secs(12), restore, renew))
    });
}

// === those who come back ===

#[test]
fn retention_in_mid_paging_and_beyond_what_was_missed_is_said() {
    holds(with_retention);
}

/// Entries are taken while people read, and while they are away.
pub(crate) fn with_retention(seed: u64) -> Plan {
    let plan = with_habits(seed, &[Habit::Reads, Habit::Reads, Habit::Hangs], 1000);
    let plan = plan.during(trouble("none", secs(20), secs(20), Vec::new(), Vec::new()));
    // Some are away for longer.
    let (people, connector) = ("people".to_owned(), "connector-0".to_owned());
    let cut = vec![Fault::Cut(people.clone(), connector.clone())];
    let plan =
        plan.during(trouble("cut", secs(7), secs(17), cut, vec![Fault::Mend(people, connector)]));
    // What the room remembers need not be read of the log.
    let plan = (1..4).fold(plan, |plan, n| {
        let (at, crash) = (secs(6 + 4 * n), plan.shards.iter().cloned().map(Fault::Crash));
        let restart = plan.shards.iter().cloned().map(Fault::Restart).collect();
        let crash = crash.collect();
        plan.during(trouble("kill", at, at + secs(1), crash, restart))
    });
    (0..60).fold(plan, |plan, n| {
        let keep = if n % 20 == 19 { 1 } else { 12 };
        plan.with(secs(6) + Duration::from_millis(n * 250), Fault::Retain(keep))
    })
}

#[test]
fn what_is_said_again_after_it_was_taken_is_known() {
    holds(with_repeats_of_taken);
}

/// What was acknowledged is said again when nothing is left of it, and its owner is
/// another one.
pub(crate) fn with_repeats_of_taken(seed: u64) -> Plan {
    let plan = with_habits(seed, &[Habit::Repeats], 400);
    let owner = owner(&plan, "r");
    let (crash, restart) = (Fault::Crash(owner.clone()), Fault::Restart(owner));
    let plan = plan.during(trouble("kill", secs(8), secs(14), vec![crash], vec![restart]));
    (0..10)
        .fold(plan, |plan, n| plan.with(secs(6) + Duration::from_millis(n * 900), Fault::Retain(1)))
}

/// Each shard is an owner by what it and its connector see, and cannot be told
/// otherwise; people who say little go from one to the other.
pub(crate) fn with_two_owners(seed: u64) -> Plan {
    let mut plan = with_habits(seed, &[Habit::Hangs, Habit::Flaps], 700);
    for talker in &mut plan.talkers {
        talker.pace = secs(3);
    }
    let see = |n: usize, seen: &[usize]| {
        let seen: Vec<String> = seen.iter().map(|n| format!("chat-{n}")).collect();
        ["chat", "connector"].map(|kind| Fault::See(format!("{kind}-{n}"), seen.clone()))
    };
    let split = [see(0, &[0]), see(1, &[1])].into_iter().flatten();
    let one = [see(0, &[0, 1]), see(1, &[0, 1])].into_iter().flatten();
    let (a, b) = ("chat-0".to_owned(), "chat-1".to_owned());
    let begins = split.chain([Fault::Cut(a.clone(), b.clone())]).collect();
    let ends = one.chain([Fault::Mend(a, b)]).collect();
    plan.during(trouble("views", secs(5), secs(25), begins, ends))
}

#[test]
fn two_owners_who_cannot_be_told_of_each_other_take_turns() {
    holds(with_two_owners);
}

#[test]
fn who_flaps_every_200_ms_misses_nothing() {
    holds(|seed| {
        let mut plan = with_habits(seed, &[Habit::Flaps, Habit::Bursts], 200);
        for talker in &mut plan.talkers[2..] {
            talker.habits.clear();
        }
        plan.during(trouble("none", secs(14), secs(14), Vec::new(), Vec::new()))
    });
}

#[test]
fn a_name_that_is_taken_over_while_its_owner_crashes_is_one_sessions() {
    holds(|seed| {
        let plan = with_habits(seed, &[Habit::Jumps], 1000);
        let owner = owner(&plan, "r");
        let (crash, restart) = (Fault::Crash(owner.clone()), Fault::Restart(owner));
        plan.during(trouble("kill", secs(8), secs(12), vec![crash], vec![restart]))
    });
}

#[test]
fn of_20_logins_of_one_name_at_once_one_stays() {
    holds(|seed| {
        let mut plan = cluster(seed);
        plan.connectors.push("connector-2".into());
        for n in 0..20 {
            let connector = format!("connector-{}", n % 3);
            let mut talker = Talker::new("gus", &connector, "r");
            (talker.id, talker.yields) = (format!("gus{n}"), true);
            talker.comes = secs(5);
            plan.talkers.push(talker);
        }
        plan.during(trouble("none", secs(8), secs(8), Vec::new(), Vec::new()))
    });
}

#[test]
fn connector_and_owner_killed_together_lose_nothing() {
    holds(|seed| {
        let plan = with_habits(seed, &[Habit::Bursts], 1500);
        let (owner, connector) = (owner(&plan, "r"), "connector-0".to_owned());
        let begins = vec![Fault::Crash(owner.clone()), Fault::Crash(connector.clone())];
        let ends = vec![Fault::Restart(owner), Fault::Restart(connector)];
        plan.during(trouble("kill", secs(8), secs(13), begins, ends))
    });
}
