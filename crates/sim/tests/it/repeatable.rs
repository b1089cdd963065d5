//! A seed decides everything: what a run shows can be looked at again.

use sim::{Fault, Plan};

use crate::{couples, owner, secs, seeds};

/// Everything that has chance in it at once.
fn eventful(seed: u64) -> Plan {
    let mut plan = couples(Plan::new(seed));
    plan.length = secs(40);
    let owner = owner(&plan, "r");
    let (a, b) = ("connector-0".to_owned(), owner.clone());
    plan.with(secs(6), Fault::Cut(a.clone(), b.clone()))
        .with(secs(10), Fault::Mend(a, b))
        .with(secs(14), Fault::Crash(owner.clone()))
        .with(secs(18), Fault::Restart(owner))
        .with(secs(22), Fault::Restart("connector-1".into()))
}

#[test]
fn two_runs_of_one_seed_are_equal() {
    for seed in seeds(2) {
        let (one, other) = (eventful(seed).run(), eventful(seed).run());
        let differs = one.record.0.iter().zip(&other.record.0).find(|(one, other)| one != other);
        if let Some((one, other)) = differs {
            panic!("seed {seed} is not repeatable:\n{one}\n{other}");
        }
        assert_eq!(one, other);
        assert!(one.record.0.len() > 500, "nothing happened");
    }
}

#[test]
fn other_seeds_are_other_runs() {
    assert_ne!(eventful(1).run(), eventful(2).run());
}
