//! Shards that are lost soon after they have claimed a room, and one without a store.

use std::time::Duration;

use model::RoomId;
use sim::{Event, Fault, Person, Plan, SharedLog, Weather};
use store::RecordKind;

use crate::{couples, owner, secs};

const HOSTS: [&str; 4] = ["chat-0", "chat-1", "connector-0", "connector-1"];

/// Two shards that share a log. The owner of the room by the view of both comes into the
/// views after 12 s, and takes it from the other. Returns both, the owner first.
fn shared(plan: Plan) -> (Plan, String, String) {
    let mut plan = Plan { shared: Some(SharedLog::default()), views: true, ..plan };
    let heir = owner(&plan, "r");
    let first = plan.shards.iter().find(|id| **id != heir).unwrap().clone();
    for host in HOSTS {
        let alone = Fault::See(host.into(), vec![first.clone()]);
        plan = plan.with(Duration::from_millis(1), alone);
        plan = plan.with(secs(12), Fault::See(host.into(), vec![first.clone(), heir.clone()]));
    }
    (plan, heir, first)
}

/// The longest time in which nothing was acknowledged, after the first 12 s.
fn longest_pause(plan: &Plan) -> Duration {
    let seen = plan.run().record.0;
    let is_ack = |event: &Event| matches!(event, Event::Answered { code: 200, users, .. } if users.is_empty());
    let acks: Vec<Duration> =
        seen.iter().filter(|seen| is_ack(&seen.event)).map(|seen| seen.at).collect();
    let late = acks.windows(2).filter(|pair| pair[1] > secs(12));
    late.map(|pair| pair[1] - pair[0]).max().expect("messages")
}

/// How long the room stands still if its new owner is lost so long after its claim, and
/// is out of the views so much later.
fn pause_of_lost(seed: u64, after_ms: u64, lost: fn(String) -> Fault, noticed_ms: u64) -> Duration {
    let (mut plan, heir, first) = shared(couples(Plan::new(seed)));
    let at = secs(12) + Duration::from_millis(after_ms);
    plan = plan.with(at, lost(heir.clone()));
    for host in HOSTS.into_iter().filter(|host| **host != heir) {
        let alone = Fault::See(host.into(), vec![first.clone()]);
        plan = plan.with(at + Duration::from_millis(noticed_ms), alone);
    }
    plan.length = secs(45);
    longest_pause(&plan)
}

#[test]
fn a_room_whose_claimer_is_killed_goes_on_as_soon_as_that_is_known() {
    for after_ms in [500, 1500, 3500, 8000] {
        let pause = pause_of_lost(1, after_ms, Fault::Crash, 1200);
        assert!(pause < Duration::from_millis(2000), "{after_ms} ms after its claim: {pause:?}");
    }
}

#[test]
fn a_room_whose_claimer_is_frozen_goes_on_as_soon_as_that_is_known() {
    for after_ms in [200, 600, 8000] {
        let pause = pause_of_lost(1, after_ms, Fault::Freeze, 4000);
        assert!(pause < Duration::from_millis(4500), "{after_ms} ms after its claim: {pause:?}");
    }
}

#[test]
fn a_view_that_does_not_stand_moves_no_room() {
    let claims = |stands_ms: u64| {
        let mut plan = couples(Plan::new(1));
        (plan.shared, plan.views) = (Some(SharedLog::default()), true);
        let owner = owner(&plan, "r");
        let all = plan.shards.clone();
        let other = all.iter().find(|id| **id != owner).unwrap().clone();
        let until = secs(12) + Duration::from_millis(stands_ms);
        plan = plan
            .with(secs(12), Fault::See(owner.clone(), vec![other]))
            .with(until, Fault::See(owner, all));
        plan.length = secs(30);
        let journal = plan.run().journal;
        let log = &journal.0[&RoomId::parse("r").unwrap()];
        log.entries
            .iter()
            .filter(|(_, entry)| matches!(entry.kind, RecordKind::Claim { .. }))
            .count()
    };
    assert_eq!(claims(20), 1);
    assert!(claims(1000) > 1, "one that does");
}

#[test]
fn whoever_comes_into_a_quiet_room_of_a_shard_without_a_store_gets_in() {
    for connector in ["connector-0", "connector-1"] {
        let mut plan = Plan { shared: Some(SharedLog::default()), views: true, ..Plan::new(1) };
        let sick = owner(&plan, "r");
        plan.people.push(Person { talks_until: secs(4), ..Person::new("ann", "connector-0", "r") });
        plan.people.push(Person { comes: secs(12), ..Person::new("bob", connector, "r") });
        plan = plan.with(secs(6), Fault::Weather(sick, Weather::Unreachable));
        plan.length = secs(30);
        let record = plan.run().record.0;
        let is_in = |event: &Event| matches!(event, Event::Answered { code: 200, users, .. } if !users.is_empty());
        let came = record.iter().find(|seen| seen.name == "bob" && is_in(&seen.event));
        let came = came.unwrap_or_else(|| panic!("bob never came in by {connector}"));
        assert!(came.at < secs(14), "by {connector} at {:?}", came.at);
    }
}
