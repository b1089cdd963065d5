use super::*;

fn announce(id: &str, draining: bool) -> Announcement {
    let raw = AnnounceResponse {
        connector_id: id.into(),
        host: format!("{id}.test"),
        port: 3050,
        sessions: 0,
        sessions_max: 0,
        draining,
    };
    raw.try_into().unwrap()
}

/// Plays a script and compares whom `alice` is sent to, and the states in the
/// order of ids. Script: `"0 a+"` connector at address a announces itself at 0 ms,
/// `"0 a-"` that it drains, `"0 ax"` its stream ends. Connectors a, b and c are listed, in another order.
#[track_caller]
fn check(script: &[&str], at_ms: u64, chosen: Option<&str>, states: &str) {
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    let mut directory = Directory::default();
    directory.list(&["c", "a", "b"].map(|addr| Connector { id: None, addr: addr.into() }));
    for step in script {
        let (ms, what) = step.split_once(' ').unwrap();
        let (addr, draining) = what.split_at(1);
        if draining == "x" {
            directory.lose(addr);
            continue;
        }
        directory.hear(addr, announce(addr, draining == "-"), after(ms.parse().unwrap()));
    }
    let now = after(at_ms);
    assert_eq!(directory.choose("alice", now).map(|chosen| chosen.id.as_str()), chosen);
    let seen: Vec<String> =
        directory.all(now).map(|(peer, state)| format!("{}:{state:?}", peer.id())).collect();
    assert_eq!(seen.join(" "), states);
}

#[test]
fn an_announcement_counts_for_a_second() {
    let all = ["0 b+", "0 a+", "500 c+"];
    check(&all, 1000, Some("c"), "a:Ready b:Ready c:Ready");
    check(&all, 1001, Some("c"), "a:Down b:Down c:Ready");
    check(&all, 1501, None, "a:Down b:Down c:Down");
    check(&["0 c+", "1500 c+"], 1600, Some("c"), "a:Down b:Down c:Ready");
}

#[test]
fn who_drains_is_not_named() {
    check(&["0 a+", "0 b+", "1 b-"], 2, Some("a"), "a:Ready b:Draining c:Down");
    check(&["0 a-"], 2, None, "a:Draining b:Down c:Down");
    check(&["0 a-"], 1001, None, "a:Down b:Down c:Down");
    check(&["0 a-", "5 a+"], 6, Some("a"), "a:Ready b:Down c:Down");
}

#[test]
fn who_is_lost_is_named_only_if_there_is_no_other() {
    check(&["0 a+", "0 b+", "1 ax"], 2, Some("b"), "a:Ready b:Ready c:Down");
    check(&["0 a+", "1 ax"], 2, Some("a"), "a:Ready b:Down c:Down");
    check(&["0 a+", "0 b+", "1 ax", "2 a+", "3 bx"], 4, Some("a"), "a:Ready b:Ready c:Down");
}

#[test]
fn nobody_is_named_before_somebody_spoke() {
    check(&[], 0, None, "a:Down b:Down c:Down");
}

/// Recorded from the original, `(uid, among three)`.
#[test]
fn the_choice_is_that_of_the_original() {
    for (uid, expected) in
        [("alice", 2), ("bob", 2), ("eve", 1), ("a", 1), ("张三", 1), ("José😀", 0), ("", 0)]
    {
        assert_eq!(slots(uid, 3).unwrap().0, expected, "{uid}");
    }
    assert_eq!(slots("alice", 1), Some((0, 0)));
    assert_eq!(slots("alice", 0), None);
}

/// A directory of connectors `c0`, `c1` …, each with its sessions and its limit, and when
/// they said so.
fn crowded(loads: &[(u64, u64)]) -> (Directory, Instant) {
    let now = Instant::now();
    let mut directory = Directory::default();
    let names: Vec<String> = (0..loads.len()).map(|number| format!("c{number}")).collect();
    let listed = names.iter().map(|addr| Connector { id: None, addr: addr.clone() });
    directory.list(&listed.collect::<Vec<_>>());
    for (name, (sessions, sessions_max)) in names.iter().zip(loads) {
        let (sessions, sessions_max) = (*sessions, *sessions_max);
        let said = Announcement { sessions, sessions_max, ..announce(name, false) };
        directory.hear(name, said, now);
    }
    (directory, now)
}

/// How many of a thousand users are sent to each connector.
#[track_caller]
fn shares(loads: &[(u64, u64)]) -> Vec<u64> {
    let (directory, now) = crowded(loads);
    let mut shares = vec![0; loads.len()];
    for user in 0..1000 {
        let chosen = directory.choose(&format!("user-{user}"), now).unwrap();
        let number: usize = chosen.id.as_str()[1..].parse().unwrap();
        shares[number] += 1;
    }
    shares
}

#[test]
fn users_stay_where_they_are_while_connectors_are_about_as_full_as_each_other() {
    let (empty, now) = crowded(&[(0, 0); 3]);
    for loads in [
        [(64, 0), (0, 0), (0, 0)],
        [(1250, 0), (1000, 0), (1100, 0)],
        [(1000, 5000), (450, 2000), (2100, 10_000)],
    ] {
        let (loaded, _) = crowded(&loads);
        for user in ["alice", "bob", "eve", "a", "b", "c", "d", "e", "f"] {
            let chosen = |directory: &Directory| directory.choose(user, now).unwrap().id.clone();
            assert_eq!(chosen(&loaded), chosen(&empty), "{user} at {loads:?}");
        }
    }
}

#[test]
fn one_that_is_much_emptier_gets_more_than_its_share() {
    // The two others' users, half of whom have it as their second choice.
    let shares_of = shares(&[(5000, 0), (5000, 0), (0, 0)]);
    assert!((600..730).contains(&shares_of[2]), "{shares_of:?}");
    assert!(shares_of[0] > 120 && shares_of[1] > 120, "{shares_of:?}");
    // Half full each, though one has ten times as many.
    let shares_of = shares(&[(5000, 10_000), (500, 1000)]);
    assert!(shares_of[1] > 400 && shares_of[0] > 400, "{shares_of:?}");
    assert_eq!(shares(&[(9000, 10_000), (500, 1000)])[0], 0);
}

#[test]
fn while_one_drains_all_are_sent_to_the_emptiest() {
    let chosen = |loads: &[(u64, u64)], user: &str| {
        let (mut directory, now) = crowded(loads);
        directory.hear("c0", announce("c0", true), now);
        directory.choose(user, now).unwrap().id.to_string()
    };
    for user in ["alice", "bob", "eve", "a", "b", "c"] {
        assert_eq!(chosen(&[(900, 0), (1000, 0), (990, 0), (1000, 0)], user), "c2");
        assert_eq!(chosen(&[(900, 0), (1000, 9000), (990, 1000), (0, 0)], user), "c3");
        assert_eq!(chosen(&[(900, 0), (1000, 9000), (990, 1000)], user), "c1");
        // Nobody is refused because one drains.
        assert_eq!(chosen(&[(900, 0), (1000, 1000)], user), "c1");
    }
}

#[test]
fn who_come_at_once_while_one_drains_are_spread_by_what_is_free() {
    let (mut directory, now) = crowded(&[(900, 0), (100, 0), (0, 0), (40, 0)]);
    directory.hear("c0", announce("c0", true), now);
    let mut sent = [0; 4];
    let mut come = |directory: &Directory, count: usize| {
        for user in 0..count {
            let chosen = directory.choose(&format!("user-{user}"), now).unwrap().id.to_string();
            sent[chosen[1..].parse::<usize>().unwrap()] += 1;
        }
        sent
    };
    assert_eq!(come(&directory, 220), [0, 20, 120, 80]);
    // What a connector says itself is what counts then.
    directory.hear("c2", announce("c2", false), now);
    assert_eq!(come(&directory, 30), [0, 20, 150, 80]);
}

#[test]
fn a_full_one_is_named_only_if_all_are() {
    assert_eq!(shares(&[(1000, 1000), (1000, 1000), (999, 1000), (1000, 1000)]), [0, 0, 1000, 0]);
    let all_full = shares(&[(1000, 1000); 2]);
    assert!(all_full[0] > 400 && all_full[1] > 400, "{all_full:?}");
    assert_eq!(shares(&[(1000, 1000)]), [1000]);
}

#[test]
fn the_second_choice_is_another_and_any_other() {
    let mut seen = std::collections::BTreeSet::new();
    for user in 0..1000 {
        let (first, second) = slots(&format!("user-{user}"), 4).unwrap();
        assert!(first != second && first < 4 && second < 4);
        seen.insert((first, second));
    }
    assert_eq!(seen.len(), 12, "{seen:?}");
}

#[test]
fn the_order_is_that_of_the_ids_they_announce() {
    let now = Instant::now();
    let listed = |id: Option<&str>, addr: &str| Connector {
        id: id.map(|id| id.parse().unwrap()),
        addr: addr.into(),
    };
    let mut directory = Directory::default();
    directory.list(&[listed(Some("z"), "h:1"), listed(None, "h:2")]);
    let ids = |directory: &Directory| {
        directory.all(now).map(|(peer, _)| peer.id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&directory), ["h:2", "z"]);
    assert!(directory.hear("h:1", announce("a", false), now));
    assert!(!directory.hear("h:1", announce("a", false), now), "nothing new");
    assert_eq!(ids(&directory), ["a", "h:2"]);

    // Who stays listed stays known; who is not is forgotten.
    directory.list(&[listed(None, "h:3"), listed(None, "h:1")]);
    assert_eq!(ids(&directory), ["a", "h:3"]);
    directory.list(&[listed(None, "h:3")]);
    assert!(!directory.hear("h:1", announce("a", false), now));
    assert_eq!(directory.choose("alice", now), None);
}

#[test]
fn a_malformed_announcement_is_refused() {
    let raw = AnnounceResponse {
        connector_id: "c1".into(),
        host: "h".into(),
        port: 3050,
        ..AnnounceResponse::default()
    };
    let refused = |raw: AnnounceResponse| Announcement::try_from(raw).unwrap_err().to_string();
    assert_eq!(refused(AnnounceResponse { port: 0, ..raw.clone() }), "port 0 is not one");
    assert_eq!(refused(AnnounceResponse { port: 65_536, ..raw.clone() }), "port 65536 is not one");
    assert_eq!(
        refused(AnnounceResponse { connector_id: "/".into(), ..raw.clone() }),
        "connector_id"
    );
    assert!(refused(AnnounceResponse { host: String::new(), ..raw }).starts_with("host is empty"));
}
