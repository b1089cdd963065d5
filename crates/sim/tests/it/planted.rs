//! The checker itself: a good record, spoilt in each way that matters, is bad.

use std::sync::LazyLock;

use sim::{Calm, Event, Plan, Record, Seen, check};

use crate::{calm, couples, secs};

static GOOD: LazyLock<(Record, Calm)> = LazyLock::new(|| {
    let plan = couples(Plan::new(1));
    let calm = calm(&plan, secs(5));
    (plan.run().record, calm)
});

/// Spoils the record and expects one rule to be broken.
#[track_caller]
fn check_spoilt(rule: &str, spoil: impl FnOnce(&mut Vec<Seen>)) {
    let (record, calm) = &*GOOD;
    let mut record = record.clone();
    spoil(&mut record.0);
    let found = check(&record, calm);
    let rules: Vec<&str> = found.iter().map(|violation| violation.rule).collect();
    assert!(rules.contains(&rule), "{found:?}");
}

/// Where the 20th thing of a kind is that `name` saw.
fn find(seen: &[Seen], name: &str, is: impl Fn(&Event) -> bool) -> usize {
    let all = seen.iter().enumerate().filter(|(_, seen)| seen.name == name && is(&seen.event));
    all.map(|(at, _)| at).nth(20).unwrap()
}

fn is_loud(event: &Event) -> bool {
    matches!(event, Event::Heard { target, .. } if target == "*")
}

#[test]
fn a_good_record_is_good() {
    let (record, calm) = &*GOOD;
    assert_eq!(check(record, calm), []);
    assert!(
        record
            .0
            .iter()
            .any(|seen| matches!(&seen.event, Event::Heard { target, .. } if target == "bob"))
    );
}

#[test]
fn a_push_that_never_comes() {
    check_spoilt("8 tail", |seen| {
        seen.remove(find(seen, "bob", is_loud));
    });
}

#[test]
fn a_push_that_comes_late() {
    check_spoilt("8 tail", |seen| {
        let mut late = seen.remove(find(seen, "bob", is_loud));
        late.at += secs(30);
        seen.push(late);
    });
}

#[test]
fn a_push_that_comes_twice() {
    check_spoilt("7 once", |seen| {
        let at = find(seen, "bob", is_loud);
        seen.insert(at, seen[at].clone());
    });
}

#[test]
fn two_pushes_that_change_places() {
    check_spoilt("7 order", |seen| {
        let one = find(seen, "bob", is_loud);
        let other = one
            + 1
            + seen[one + 1..].iter().position(|s| s.name == "bob" && is_loud(&s.event)).unwrap();
        let event = seen[one].event.clone();
        seen[one].event = std::mem::replace(&mut seen[other].event, event);
    });
}

#[test]
fn an_author_whose_words_change_places_for_all() {
    check_spoilt("15 first in", |seen| {
        let said = |event: &Event| matches!(event, Event::Said { .. });
        let one = find(seen, "ann", said);
        let other = one
            + 1
            + seen[one + 1..].iter().position(|s| s.name == "ann" && said(&s.event)).unwrap();
        let event = seen[one].event.clone();
        seen[one].event = std::mem::replace(&mut seen[other].event, event);
    });
}

#[test]
fn an_answer_that_never_comes() {
    check_spoilt("answer", |seen| {
        seen.remove(find(seen, "ann", |event| matches!(event, Event::Answered { .. })));
    });
}

#[test]
fn an_answer_that_comes_twice() {
    check_spoilt("answer", |seen| {
        let at = find(seen, "ann", |event| matches!(event, Event::Answered { .. }));
        seen.insert(at, seen[at].clone());
    });
}

#[test]
fn an_answer_to_nothing() {
    check_spoilt("answer", |seen| {
        let at = find(seen, "ann", |event| matches!(event, Event::Answered { .. }));
        seen[at].event = Event::Answered { id: 9999, code: 200, users: Vec::new() };
    });
}

#[test]
fn a_push_before_its_own_answer() {
    check_spoilt("15 answer first", |seen| {
        let at =
            find(seen, "ann", |event| matches!(event, Event::Heard { from, .. } if from == "ann"));
        seen[at].at -= secs(1);
    });
}

#[test]
fn a_whisper_for_others() {
    check_spoilt("14 for whom", |seen| {
        let at = seen
            .iter()
            .position(|s| matches!(&s.event, Event::Heard { target, .. } if target == "bob"))
            .unwrap();
        let other = Seen { name: "cat".into(), ..seen[at].clone() };
        seen.insert(at, other);
    });
}

#[test]
fn a_refused_message_that_is_heard() {
    check_spoilt("4 refused", |seen| {
        let at = find(seen, "ann", |event| matches!(event, Event::Answered { code: 200, .. }));
        let Event::Answered { code, .. } = &mut seen[at].event else { unreachable!() };
        *code = 500;
    });
}

#[test]
fn a_message_that_nobody_said() {
    check_spoilt("4 said", |seen| {
        let at = find(seen, "bob", is_loud);
        let Event::Heard { content, .. } = &mut seen[at].event else { unreachable!() };
        content.push('x');
    });
}

#[test]
fn somebody_who_comes_twice_or_never_leaves() {
    check_spoilt("12 no noise", |seen| {
        let mut again = seen[seen.len() - 1].clone();
        (again.name, again.session) = ("bob".into(), 1);
        again.event = Event::Came("ann".into());
        seen.push(again);
    });
    check_spoilt("12 roster", |seen| {
        let mut ghost = seen[seen.len() - 1].clone();
        (ghost.name, ghost.session) = ("bob".into(), 1);
        ghost.event = Event::Came("eve".into());
        seen.push(ghost);
    });
}

#[test]
fn a_name_that_is_there_twice() {
    check_spoilt("11 one session", |seen| {
        let entered = |event: &Event| {
            matches!(event, Event::AskedToEnter { .. })
                || matches!(event, Event::Answered { users, .. } if !users.is_empty())
        };
        let again = seen.iter().filter(|s| s.name == "ann" && entered(&s.event));
        let again: Vec<Seen> = again.map(|s| Seen { session: 2, ..s.clone() }).collect();
        seen.extend(again);
    });
}
