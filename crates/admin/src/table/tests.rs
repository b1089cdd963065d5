use rpc::process::v1::Process;

use super::*;
use crate::ask::Target;

fn answered(tier: Tier, id: &str, counts: &[(&'static str, u64)]) -> Row {
    let process = Process {
        id: id.into(),
        version: "0.1.0".into(),
        uptime_ms: 11_530_999,
        now_ms: 1_800_000_000_000,
        draining: id == "connector-2",
    };
    let answer = Answer { process, skew_ms: 3, counts: counts.to_vec() };
    let target = Target { tier, id: String::new(), addr: "h:1".into() };
    Row { target, answer: Ok(answer) }
}

fn silent(tier: Tier, id: &str, why: &str) -> Row {
    let target = Target { tier, id: id.into(), addr: "h:22".into() };
    Row { target, answer: Err(why.into()) }
}

#[track_caller]
fn check(rows: &[Row], expected: &[&str]) {
    assert_eq!(text(rows).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn everybody_has_a_line_and_tiers_have_sums() {
    let connector = |id, sessions| {
        let counts = [("sessions", sessions), ("rooms", 2), ("pushes", 40), ("outbox_closes", 1)];
        answered(Tier::Connector, id, &counts)
    };
    check(
        &[
            answered(Tier::Gate, "", &[("sessions", 1), ("outbox_closes", 0)]),
            connector("connector-1", 7),
            connector("connector-2", 1000),
            silent(Tier::Connector, "connector-3", "no answer within 2s"),
            answered(Tier::Chat, "chat-0", &[("rooms", 3), ("members", 9), ("links", 2)]),
        ],
        &[
            "tier       id           address  version  up      clock     skew  state     sessions  rooms  members  links  pushes  closes",
            "gate       -            h:1      0.1.0    3h 12m  08:00:00  +3ms  serving          1      -        -      -       -       0",
            "connector  connector-1  h:1      0.1.0    3h 12m  08:00:00  +3ms  serving          7      2        -      -      40       1",
            "connector  connector-2  h:1      0.1.0    3h 12m  08:00:00  +3ms  draining      1000      2        -      -      40       1",
            "connector  connector-3  h:22     no answer within 2s",
            "connector  all          2 of 3                                                  1007      -        -      -      80       2",
            "chat       chat-0       h:1      0.1.0    3h 12m  08:00:00  +3ms  serving          -      3        9      2       -       -",
        ],
    );
}

#[test]
fn nobody_steers_the_terminal() {
    let evil =
        text(&[answered(Tier::Chat, "a\x1b[2J", &[]), silent(Tier::Chat, "b", "no\nanswer\r")]);
    assert!(evil.contains("a?[2J") && evil.contains("no?answer?"), "{evil}");
    assert!(evil.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn times_that_are_odd_are_written_nevertheless() {
    assert_eq!((uptime(0), uptime(61_000)), ("0s".into(), "1m 1s".into()));
    assert_eq!((time_of_day(0), time_of_day(u64::MAX)), ("00:00:00".into(), "?".into()));
    assert_eq!(
        (skew(-9_999), skew(-10_500), skew(0)),
        ("-9999ms".into(), "-10s".into(), "+0ms".into())
    );
}
