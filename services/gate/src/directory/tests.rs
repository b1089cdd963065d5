use super::*;

fn announce(id: &str, draining: bool) -> Announcement {
    let raw = AnnounceResponse {
        connector_id: id.into(),
        host: format!("{id}.test"),
        port: 3050,
        sessions: 0,
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
        assert_eq!(slot(uid, 3), Some(expected), "{uid}");
    }
    assert_eq!(slot("alice", 1), Some(0));
    assert_eq!(slot("alice", 0), None);
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
