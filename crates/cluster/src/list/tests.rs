use super::*;

fn shards(raw: &str) -> String {
    let list = raw.parse::<List<Shard>>();
    match list {
        Ok(list) => list
            .entries()
            .iter()
            .map(|s| format!("{}@{}", s.id, s.addr))
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => error.to_string(),
    }
}

fn connectors(raw: &str) -> String {
    let list = raw.parse::<List<Connector>>();
    let name = |c: &Connector| match &c.id {
        Some(id) => format!("{id}@{}", c.addr),
        None => c.addr.clone(),
    };
    match list {
        Ok(list) => list.entries().iter().map(name).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_list_of_shards() {
    let form = "must be id=host:port";
    for (raw, expected) in [
        ("a=h:1", "a@h:1".to_owned()),
        (" b = 127.0.0.1:6050 , a=[::1]:65535", "b@127.0.0.1:6050 a@[::1]:65535".to_owned()),
        ("a=x_y.svc.cluster.local:1", "a@x_y.svc.cluster.local:1".to_owned()),
        ("", format!("entry 1: \"\" {form}")),
        ("a=h:1,", format!("entry 2: \"\" {form}")),
        ("h:1", format!("entry 1: \"h:1\" {form}")),
        ("a=h", format!("entry 1: \"a=h\" {form}")),
        ("a=:1", format!("entry 1: \"a=:1\" {form}")),
        ("a=h:0", format!("entry 1: \"a=h:0\" {form}")),
        ("a=h:+1", format!("entry 1: \"a=h:+1\" {form}")),
        ("a=h:65536", format!("entry 1: \"a=h:65536\" {form}")),
        ("a=::1:80", format!("entry 1: \"a=::1:80\" {form}")),
        ("a=[h]:80", format!("entry 1: \"a=[h]:80\" {form}")),
        ("a=http://h:80", format!("entry 1: \"a=http://h:80\" {form}")),
        ("a=u@h:80", format!("entry 1: \"a=u@h:80\" {form}")),
        ("=h:1", "entry 1: \"=h:1\" the id must have 1 to 63 bytes, not 0".to_owned()),
        ("a/b=h:1", "entry 1: \"a/b=h:1\" the id must not contain \\u{2f}".to_owned()),
        (
            "a=h:1,a=h:2",
            "entry 2: \"a=h:2\" has the id or the address of an earlier entry".to_owned(),
        ),
        (
            "a=h:1,b=h:1",
            "entry 2: \"b=h:1\" has the id or the address of an earlier entry".to_owned(),
        ),
    ] {
        assert_eq!(shards(raw), expected, "{raw}");
    }
}

#[test]
fn a_list_of_connectors_needs_no_names() {
    for (raw, expected) in [
        ("h:1,h:2", "h:1 h:2"),
        ("c1=h:1,h:2", "c1@h:1 h:2"),
        ("h:1,c1=h:1", "entry 2: \"c1=h:1\" has the id or the address of an earlier entry"),
        ("c1=h:1,c1=h:2", "entry 2: \"c1=h:2\" has the id or the address of an earlier entry"),
        ("h", "entry 1: \"h\" must be host:port or id=host:port"),
    ] {
        assert_eq!(connectors(raw), expected, "{raw}");
    }
}

#[test]
fn a_list_has_a_limit() {
    let raw = |n: usize| (1..=n).map(|i| format!("h:{i}")).collect::<Vec<_>>().join(",");
    assert_eq!(raw(ENTRIES_MAX).parse::<List<Connector>>().unwrap().entries().len(), ENTRIES_MAX);
    let refused = raw(ENTRIES_MAX + 1).parse::<List<Connector>>().unwrap_err();
    assert_eq!(refused.to_string(), "the list has more than 1000 entries");
}
