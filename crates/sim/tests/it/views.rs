//! Processes that see different shards.

use std::time::Duration;

use sim::{Calm, Fault, Plan};

use crate::{calm, couples, is_quiet, owner, secs, try_all};

fn with_views(seed: u64) -> (Plan, String, String) {
    let mut plan = couples(Plan::new(seed));
    plan.views = true;
    let owner = owner(&plan, "r");
    let other = plan.shards.iter().find(|id| **id != owner).unwrap().clone();
    (plan, owner, other)
}

#[test]
fn a_connector_that_does_not_see_the_owner_is_sent_there() {
    try_all(
        |seed| {
            let (plan, owner, other) = with_views(seed);
            let plan = plan
                .with(Duration::ZERO, Fault::See("connector-1".into(), vec![other.clone()]))
                .with(secs(20), Fault::See("connector-1".into(), vec![owner, other]));
            let calm = calm(&plan, secs(5));
            (plan, calm)
        },
        is_quiet,
    );
}

#[test]
fn a_room_follows_the_view_when_all_agree() {
    try_all(
        |seed| {
            let (mut plan, _, other) = with_views(seed);
            for host in ["chat-0", "chat-1", "connector-0", "connector-1"] {
                plan = plan.with(secs(12), Fault::See(host.into(), vec![other.clone()]));
            }
            // Without a common store a move is a new log.
            let calm = Calm { lost: vec![(secs(11), secs(12))], ..calm(&plan, secs(12)) };
            (plan, calm)
        },
        is_quiet,
    );
}

#[test]
fn a_room_that_was_split_by_views_is_one_again_when_they_agree() {
    try_all(
        |seed| {
            let (mut plan, owner, other) = with_views(seed);
            // For some time, one half sees a different world than the other.
            for host in [other.as_str(), "connector-1"] {
                plan = plan.with(secs(12), Fault::See(host.into(), vec![other.clone()]));
                let all = vec![owner.clone(), other.clone()];
                plan = plan.with(secs(22), Fault::See(host.into(), all));
            }
            plan.length = secs(70);
            let calm = Calm { lost: vec![(secs(11), secs(23))], ..calm(&plan, secs(22)) };
            (plan, calm)
        },
        |_| Ok(()),
    );
}
