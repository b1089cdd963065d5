//! The crate graph has floors: a crate uses only what lies below it.

use crate::Crate;

/// From the bottom up. Crates of one line never use each other.
const FLOORS: &[&[&str]] = &[
    // floor 0: pure state machines, and the vocabulary under them; and servers that
    // tests of the floors above need
    &["fake-api", "model", "postgres-server"],
    &["room", "wire"],
    // floor 1: the shell that services share; frontend and rpc stand on chassis
    &["chassis", "cluster", "store"],
    &["frontend", "rpc"],
    // floor 2: services; standalone is all of them
    &["chat", "connector", "gate", "web-server"],
    &["standalone"],
    // floor 3: tools; what is simulated is checked by verify, and the image's programs are
    // one file
    &["admin", "interleavings", "loadgen", "tidy", "verify"],
    &["shaddock", "sim"],
    // floor 4: examples of what people build upon all that; nobody else uses them
    &["time-rpc"],
    &["time-server"],
    &["time-gate"],
];

/// All of ours that a crate may use, where that is less than all below it.
const USES: &[(&str, &[&str])] = &[
    ("room", &["model"]),
    ("wire", &[]),
    ("fake-api", &[]),
    ("postgres-server", &[]),
    ("chassis", &[]),
    ("cluster", &["model"]),
    ("rpc", &["chassis", "model"]),
    ("store", &["model"]),
    ("frontend", &["chassis", "wire"]),
    ("chat", &["chassis", "cluster", "model", "room", "rpc", "store"]),
    ("connector", &["chassis", "cluster", "frontend", "model", "rpc", "wire"]),
    ("gate", &["chassis", "cluster", "frontend", "model", "rpc", "wire"]),
    ("web-server", &["chassis"]),
    ("interleavings", &["model", "room"]),
    ("time-rpc", &[]),
    ("time-server", &["chassis", "model", "rpc", "time-rpc"]),
    ("time-gate", &["chassis", "cluster", "gate", "model", "rpc", "time-rpc"]),
    ("admin", &["chassis", "cluster", "rpc"]),
];

/// All that the pure crates may use from outside: no runtime, no network, no
/// clock, no random numbers, no log. Their tests may use anything.
const PURE: &[(&str, &[&str])] = &[
    ("model", &["thiserror", "unicode-normalization", "unicode-properties", "xxhash-rust"]),
    ("room", &["bytes", "serde", "serde_json", "thiserror"]),
    // Of ring, wire verifies signatures and nothing else: no random numbers.
    ("wire", &["base64", "bytes", "md-5", "ring", "serde", "serde_json", "thiserror"]),
];

/// Complains about each dependency that does not point down, or that makes a pure
/// crate impure.
#[must_use]
pub fn check(crates: &[Crate]) -> Vec<String> {
    let mut complaints = Vec::new();
    for user in crates {
        let Some(floor) = floor_of(&user.name) else {
            complaints.push(format!("{} has no floor; give it one in FLOORS", user.name));
            continue;
        };
        for used in &user.uses {
            let (name, used_name) = (&user.name, &used.name);
            if used.ours {
                let below = floor_of(used_name).is_some_and(|below| below < floor);
                let known = used.dev || row(USES, name).is_none_or(|all| contains(all, used_name));
                if !below || !known {
                    complaints.push(format!("{name} may not use {used_name}"));
                }
            } else if !used.dev && row(PURE, name).is_some_and(|all| !contains(all, used_name)) {
                complaints.push(format!("{name} is pure and may not use {used_name}"));
            }
        }
    }
    complaints
}

fn floor_of(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| contains(floor, name))
}

fn row<'a>(table: &'a [(&str, &[&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(first, _)| *first == name).map(|(_, rest)| *rest)
}

fn contains(list: &[&str], name: &str) -> bool {
    list.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Use;

    /// `script`: a crate and what it uses, a minus before a dependency of its tests.
    #[track_caller]
    fn check_one(script: &str, complaints: &[&str]) {
        let mut words = script.split_whitespace();
        let name = words.next().unwrap().to_owned();
        let uses = words.map(|word| {
            let used = word.trim_start_matches('-');
            Use { name: used.to_owned(), dev: word != used, ours: floor_of(used).is_some() }
        });
        let one = Crate { name, manifest: String::new(), uses: uses.collect() };
        assert_eq!(check(&[one]), complaints, "{script}");
    }

    #[test]
    fn down_is_fine() {
        check_one("connector wire rpc frontend tokio -proptest", &[]);
        check_one("standalone gate connector chat web-server", &[]);
        check_one("sim standalone chat model", &[]);
        check_one("time-gate gate time-rpc -time-server -connector", &[]);
    }

    #[test]
    fn planted_violations_are_found() {
        check_one("model wire", &["model may not use wire"]);
        check_one("wire model", &["wire may not use model"]);
        check_one("wire tokio", &["wire is pure and may not use tokio"]);
        check_one("room md-5", &["room is pure and may not use md-5"]);
        check_one("chassis rpc", &["chassis may not use rpc"]);
        check_one("chassis frontend", &["chassis may not use frontend"]);
        check_one("frontend rpc", &["frontend may not use rpc"]);
        check_one("chat connector", &["chat may not use connector"]);
        check_one("chat -connector", &["chat may not use connector"]);
        check_one("chat wire", &["chat may not use wire"]);
        check_one("gate standalone", &["gate may not use standalone"]);
        check_one("loadgen sim", &["loadgen may not use sim"]);
        check_one("gate time-rpc", &["gate may not use time-rpc"]);
        check_one("sim time-gate", &["sim may not use time-gate"]);
        check_one("time-server gate", &["time-server may not use gate"]);
        check_one("time-gate time-server", &["time-gate may not use time-server"]);
        check_one("admin chat", &["admin may not use chat"]);
        check_one("common", &["common has no floor; give it one in FLOORS"]);
    }
}
