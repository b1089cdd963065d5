use super::*;

fn way(mode: Advertise, change: impl FnOnce(&mut AdvertiseOptions)) -> Way {
    let mut options = AdvertiseOptions::default();
    change(&mut options);
    Way::new(mode, &options).unwrap()
}

/// Connector `c`, which announces c.test:3050.
fn chosen() -> Announcement {
    Announcement {
        id: "c".parse().unwrap(),
        host: "c.test".into(),
        port: 3050,
        sessions: 0,
        sessions_max: 0,
        draining: false,
    }
}

/// A WebSocket's request: `"/path Name: value; Name: value"`.
fn asked(request: &str) -> Option<Asked> {
    let (path, headers) = request.split_once(' ').unwrap_or((request, ""));
    let mut built = Request::builder().uri(path);
    for header in headers.split("; ").filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(": ").unwrap();
        built = built.header(name, value);
    }
    Asked::of(&built.body(()).unwrap())
}

/// What a client with this request is told: as an extended session, and the host that
/// plain ones get.
#[track_caller]
fn check(way: &Way, request: &str, url: &str, plain_host: &str) {
    let entry = way.entry(&chosen(), asked(request).as_ref()).unwrap();
    let scheme = if entry.tls { "wss" } else { "ws" };
    let told = format!("{scheme}://{}:{}{}", entry.host, entry.port, entry.path);
    assert_eq!((told.as_str(), &*entry.plain_host()), (url, plain_host), "{request}");
}

#[test]
fn each_connectors_own_address_is_told_as_it_is() {
    let way = way(Advertise::PerPod, |options| options.advertise_port = Some(1));
    check(&way, "/ Host: a.test", "ws://c.test:3050", "c.test");
    check(&way, "/gate Host: a.test", "ws://c.test:3050", "c.test");
    check(&way, "/ X-Forwarded-Host: a.test", "ws://c.test:3050", "c.test");
}

#[test]
fn a_load_balancers_address_is_told_as_soon_as_it_has_one() {
    let options = AdvertiseOptions {
        advertise_service: Some("connector".into()),
        advertise_tls: true,
        ..AdvertiseOptions::default()
    };
    let (host, known) = watch::channel(None);
    let way = Way::new(Advertise::LoadBalancer, &options).unwrap().to(known);
    assert_eq!(way.entry(&chosen(), None), None);
    host.send_replace(Some("192.0.2.1".into()));
    check(&way, "/ Host: a.test:3014", "wss://192.0.2.1:3050", "192.0.2.1");
    check(&way, "/gate Host: a.test", "wss://192.0.2.1:3050", "192.0.2.1");
}

#[test]
fn who_came_to_a_host_is_sent_to_another_port_of_it() {
    let same = way(Advertise::SameHost, |_| {});
    check(&same, "/ Host: a.test:3014", "ws://a.test:3050", "a.test");
    check(&same, "/any?x=1 Host: 10.0.0.1", "ws://10.0.0.1:3050", "10.0.0.1");
    let same = way(Advertise::SameHost, |options| {
        options.advertise_port = Some(30_050);
        options.advertise_tls = true;
    });
    check(&same, "/ Host: [2001:db8::1]:3014", "wss://[2001:db8::1]:30050", "[2001:db8::1]");
    check(&same, "/ Host: [::1]", "wss://[::1]:30050", "[::1]");
}

#[test]
fn who_came_by_an_origin_is_sent_to_a_path_of_it() {
    let same = way(Advertise::SameHost, |options| options.advertise_port = Some(30_050));
    let forwarded = "/ Host: gate:3014; X-Forwarded-Host: a.test:8080";
    check(&same, forwarded, "ws://a.test:8080/ws", "a.test:8080/ws?");
    check(&same, "/gate Host: a.test", "ws://a.test:80/ws", "a.test:80/ws?");
    check(&same, "/gate/ Host: a.test", "ws://a.test:80/ws", "a.test:80/ws?");
    let secure = "/gate Host: a.test; X-Forwarded-Proto: https";
    check(&same, secure, "wss://a.test:443/ws", "a.test:443/ws?");
    let chain = "/ X-Forwarded-Host: a.test, inner; X-Forwarded-Proto: HTTPS, http";
    check(&same, chain, "wss://a.test:443/ws", "a.test:443/ws?");
    let same = way(Advertise::SameHost, |options| options.advertise_path = "/to/chat".into());
    check(&same, "/gate Host: [::1]:1", "ws://[::1]:1/to/chat", "[::1]:1/to/chat?");
}

#[test]
fn the_path_says_who_was_chosen_where_somebody_can_lead_there() {
    let chosen = |host: &str, request: &str| {
        let same = way(Advertise::SameHost, |options| options.advertise_chosen = true);
        let chosen = Announcement { host: host.into(), ..chosen() };
        same.entry(&chosen, asked(request).as_ref()).unwrap().path
    };
    assert_eq!(chosen("10.244.1.5", "/gate Host: a.test"), "/ws/0af40105");
    assert_eq!(chosen("10.244.1.5", "/ X-Forwarded-Host: a.test"), "/ws/0af40105");
    let six = "/ws/fd000000000000000000000000000a05";
    assert_eq!(chosen("[fd00::a05]", "/gate Host: a.test"), six);
    // A name leads nowhere, and who came to a port of the gate's own has no path.
    assert_eq!(chosen("c.test", "/gate Host: a.test"), "/ws");
    assert_eq!(chosen("10.244.1.5", "/ Host: a.test:3014"), "");
}

#[test]
fn one_host_for_all_is_told_whatever_they_came_to() {
    let one = way(Advertise::Static, |options| {
        options.advertise_host = Some("chat.test".into());
        options.advertise_port = Some(443);
        options.advertise_tls = true;
    });
    check(&one, "/ Host: a.test:3014", "wss://chat.test:443", "chat.test");
    check(&one, "/gate Host: a.test", "wss://chat.test:443/ws", "chat.test:443/ws?");
    let one = way(Advertise::Static, |options| options.advertise_host = Some("h.test".into()));
    check(&one, "/ Host: a.test", "ws://h.test:3050", "h.test");
    check(&one, "/gate Host: a.test", "ws://h.test:80/ws", "h.test:80/ws?");
    assert_eq!(one.entry(&chosen(), None).unwrap().host, "h.test");
}

#[test]
fn who_named_no_host_is_told_none() {
    let same = way(Advertise::SameHost, |options| options.advertise_port = Some(9));
    let entry = Entry { host: String::new(), port: 9, tls: false, path: String::new() };
    assert_eq!(same.entry(&chosen(), None), Some(entry));
    let long = format!("/ Host: {}", "a".repeat(254));
    for request in [
        "/",
        "/ Host: a b",
        "/ Host: a.test/x",
        "/ Host: u@a.test",
        "/ Host: a.test:0",
        "/ Host: a.test:65536",
        "/ Host: a.test:+80",
        "/ Host: a.test:",
        "/ Host: ::1",
        "/ Host: [::1",
        "/ Host: [a.test]",
        "/ Host: \"a\"",
        &long,
    ] {
        // An empty port is none, as URLs have it.
        let expected = request.ends_with("test:").then_some("a.test".to_owned());
        assert_eq!(asked(request).map(|asked| asked.host), expected, "{request}");
    }
    // What a proxy says is not looked at if it is nonsense.
    let asked = asked("/ Host: a.test; X-Forwarded-Host: <b>").unwrap();
    assert_eq!((asked.host.as_str(), asked.by_origin), ("a.test", false));
}

#[test]
fn a_mode_without_what_it_needs_is_refused_in_one_line() {
    let refused = |mode, host: Option<&str>, service: Option<&str>| {
        let options = AdvertiseOptions {
            advertise_host: host.map(Into::into),
            advertise_service: service.map(Into::into),
            ..AdvertiseOptions::default()
        };
        Way::new(mode, &options).unwrap_err().to_string()
    };
    let text = refused(Advertise::Static, None, None);
    assert_eq!(text, "--advertise static needs --advertise-host");
    let text = refused(Advertise::LoadBalancer, None, None);
    assert_eq!(text, "--advertise loadBalancer needs --advertise-service");
    for mode in [Advertise::SameHost, Advertise::LoadBalancer, Advertise::PerPod] {
        let text = refused(mode, Some("h"), Some("s"));
        assert_eq!(text, "--advertise-host goes with --advertise static only");
    }
    for (mode, host) in [(Advertise::SameHost, None), (Advertise::Static, Some("h"))] {
        let text = refused(mode, host, Some("s"));
        assert_eq!(text, "--advertise-service goes with --advertise loadBalancer only");
    }
}

#[test]
fn a_host_and_a_path_are_what_may_stand_in_a_url() {
    for host in ["a.test", "10.0.0.1", "[::1]", "a_b-c"] {
        assert_eq!(parse_host(host).as_deref(), Ok(host));
    }
    for host in ["", "::1", "a.test:1", "a/b", "ws://a", "a b", "[::g]"] {
        assert!(parse_host(host).is_err(), "{host}");
    }
    for path in ["/ws", "/a/b.c-d_e~f"] {
        assert_eq!(parse_path(path).as_deref(), Ok(path));
    }
    for path in ["/ws/", "", "/", "/gate", "ws", "/a b", "/a?b", "/a#b", "/{a}", "/\u{e4}"] {
        assert!(parse_path(path).is_err(), "{path}");
    }
}
