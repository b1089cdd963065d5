//! Two clients of a running system meet in a room: the shortest proof that it works.

use std::{cell::Cell, str::FromStr, time::Duration};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use chassis::{Clock, Net, World};
use http::Uri;
use serde_json::{Value, json};
use wire::Message;

use crate::{
    client::{Client, HELLO},
    print,
};

/// Options of `loadgen smoke`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The gate, ws://HOST:PORT or ws://HOST:PORT/PATH
    #[arg(long, value_name = "URL")]
    gate: Address,

    /// Go to this connector instead of where the gate says: from inside of a cluster the
    /// way that clients are told may lead nowhere
    #[arg(long, value_name = "URL")]
    connector: Option<Address>,
}

/// How long all of it may take.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Pushes that one client remembers; more means that the room is not its own.
const PUSHES_MAX: usize = 1000;

/// What an extended client says of itself.
const HELLO_EXTENDED: &[u8] = br#"{"sys":{"type":"load","version":"0.0.1"},"user":{"shaddock":1}}"#;

/// Where a WebSocket is.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Address {
    /// `host:port`.
    addr: String,
    /// The path, with its query.
    path: String,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        let wrong = || format!("{raw:?} is not ws://HOST:PORT or ws://HOST:PORT/PATH");
        let url: Uri = raw.parse().map_err(|_| wrong())?;
        match (url.scheme_str(), url.host(), url.authority()) {
            (Some("wss"), ..) => Err(format!("{raw:?}: this program speaks no TLS")),
            (Some("ws"), Some(host), Some(authority)) if !host.is_empty() => {
                // `Uri` takes anything for a port.
                let port: u16 = match authority.as_str().strip_prefix(host) {
                    Some("") => 80,
                    Some(port) => port
                        .strip_prefix(':')
                        .and_then(|port| port.parse().ok())
                        .ok_or_else(wrong)?,
                    None => return Err(wrong()),
                };
                let addr = format!("{host}:{port}");
                let path = url.path_and_query().map_or("/", |path| path.as_str());
                Ok(Self { addr, path: path.to_owned() })
            }
            _ => Err(wrong()),
        }
    }
}

impl Address {
    fn host(&self) -> &str {
        self.addr.rsplit_once(':').map_or(&*self.addr, |(host, _)| host)
    }

    async fn open(&self, net: &Net, hello: &[u8]) -> anyhow::Result<Client> {
        Client::connect_as(net, &self.addr, &self.path, hello).await
    }
}

/// Plays it, and says how it went.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let began = Clock::real().now();
    let step = Cell::new("");
    let played = tokio::time::timeout(TIME_MAX, play(&options, &step)).await;
    let said = played.unwrap_or_else(|_| bail!("not done after {} s", TIME_MAX.as_secs()));
    let said = said.with_context(|| format!("smoke failed: {}", step.get()))?;
    print(format_args!("ok in {} ms: {said}", (Clock::real().now() - began).as_millis()));
    Ok(())
}

async fn play(options: &Options, step: &Cell<&str>) -> anyhow::Result<String> {
    let world = World::real();
    let run = u128::from_le_bytes(world.rng.bytes16());
    let room = format!("smoke-{run:032x}");
    let mut talkers = Vec::new();
    for (who, hello, steps) in [
        ("ann", HELLO, ["the plain client asks the gate", "the plain client enters"]),
        (
            "bob",
            HELLO_EXTENDED,
            ["the extended client asks the gate", "the extended client enters"],
        ),
    ] {
        // Names of this run only, and none is part of the other.
        let name = format!("smoke-{who}-{:08x}", run as u32);
        step.set(steps[0]);
        let answer = ask(&world.net, &options.gate, &name, hello).await?;
        let at = match &options.connector {
            Some(connector) => connector.clone(),
            None => address(&options.gate, &answer)?,
        };
        step.set(steps[1]);
        talkers.push(Talker::enter(&world.net, at, name, &room, hello).await?);
    }
    let [ann, bob] = &mut talkers[..] else { unreachable!("there are two") };

    // The second message of each comes after the first, so whoever has heard it knows
    // how often the first came.
    for (nth, talks) in [(1, "they talk"), (2, "they talk on")] {
        step.set(talks);
        ann.say(nth, &room).await?;
        bob.say(nth, &room).await?;
        ann.hear(&bob.saying(nth)).await?;
        bob.hear(&ann.saying(nth)).await?;
    }
    step.set("each hears the other once");
    for (listener, speaker) in [(&*ann, &*bob), (&*bob, &*ann)] {
        let times = listener.times(&speaker.saying(1));
        ensure!(times == 1, "{} heard a message of {} {times} times", listener.name, speaker.name);
    }

    step.set("one goes and the other is told");
    let said = format!("{} and {} met in {room}", ann.place(), bob.place());
    let gone = ann.name.clone();
    let before = bob.times(&gone);
    talkers.remove(0);
    let [bob] = &mut talkers[..] else { unreachable!("one is left") };
    while bob.times(&gone) == before {
        bob.listen().await?;
    }
    step.set("the extended client leaves");
    let answer = bob.call("room.leave", &json!({})).await?;
    ensure!(answer["code"] == 200, "refused: {answer}");
    Ok(said)
}

/// Asks the gate where `name` is to go.
async fn ask(net: &Net, gate: &Address, name: &str, hello: &[u8]) -> anyhow::Result<Value> {
    let mut client = gate.open(net, hello).await?;
    let answer = client.call(wire::route::QUERY_ENTRY, &json!({ "uid": name })).await?;
    ensure!(answer["code"] == 200, "no connector is named: {answer}");
    Ok(answer)
}

/// Where the gate's answer leads, read as clients do.
fn address(gate: &Address, answer: &Value) -> anyhow::Result<Address> {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    ensure!(answer["tls"] != true, "it names a connector with TLS, see --connector: {answer}");
    let host = match text("host") {
        "" => gate.host(),
        host => host,
    };
    let url = format!("ws://{host}:{}{}", answer["port"], text("path"));
    url.parse().map_err(|error| anyhow::anyhow!("it names {error}"))
}

/// A client in the room.
struct Talker {
    client: Client,
    at: Address,
    name: String,
    /// Bodies of what was pushed, in whatever encoding.
    pushes: Vec<Bytes>,
}

impl Talker {
    async fn enter(
        net: &Net,
        at: Address,
        name: String,
        room: &str,
        hello: &[u8],
    ) -> anyhow::Result<Self> {
        let client = at.open(net, hello).await?;
        let mut talker = Self { client, at, name, pushes: Vec::new() };
        let body = json!({ "username": talker.name, "rid": room });
        let answer = talker.call(wire::route::ENTER, &body).await?;
        ensure!(answer["users"].is_array(), "refused: {answer}");
        Ok(talker)
    }

    fn place(&self) -> String {
        format!("{} at {}{}", self.name, self.at.addr, self.at.path)
    }

    /// What it says the nth time.
    fn saying(&self, nth: usize) -> String {
        format!("{} says {nth}", self.name)
    }

    async fn say(&mut self, nth: usize, room: &str) -> anyhow::Result<()> {
        let content = self.saying(nth);
        let body = json!({ "content": content, "target": "*", "rid": room, "from": self.name });
        let answer = self.call(wire::route::SEND, &body).await?;
        let is_taken = answer.get("code").is_none_or(|code| code == 200);
        ensure!(is_taken, "{} may not speak: {answer}", self.name);
        Ok(())
    }

    /// Waits until `text` was pushed.
    async fn hear(&mut self, text: &str) -> anyhow::Result<()> {
        while self.times(text) == 0 {
            self.listen().await.with_context(|| format!("{} waits for {text:?}", self.name))?;
        }
        Ok(())
    }

    /// How many pushes have `text` in them.
    fn times(&self, text: &str) -> usize {
        let has = |push: &&Bytes| push.windows(text.len()).any(|part| part == text.as_bytes());
        self.pushes.iter().filter(has).count()
    }

    /// Waits for the next push.
    async fn listen(&mut self) -> anyhow::Result<()> {
        let message = self.client.message().await?;
        self.keep(message)
    }

    async fn call(&mut self, route: &str, body: &Value) -> anyhow::Result<Value> {
        self.client.ask(route, body).await?;
        loop {
            match self.client.message().await? {
                Message::Response { body, .. } => return Ok(serde_json::from_slice(&body)?),
                other => self.keep(other)?,
            }
        }
    }

    fn keep(&mut self, message: Message) -> anyhow::Result<()> {
        if let Message::Push { body, .. } = message {
            ensure!(self.pushes.len() < PUSHES_MAX, "{PUSHES_MAX} pushes came");
            self.pushes.push(body);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_of_websockets() {
        for (url, addr, path) in [
            ("ws://h:1", "h:1", "/"),
            ("ws://h", "h:80", "/"),
            ("ws://web-server.ns.svc:80/gate", "web-server.ns.svc:80", "/gate"),
            ("ws://[::1]:8080/ws?:8080", "[::1]:8080", "/ws?:8080"),
        ] {
            let expected = Address { addr: addr.into(), path: path.into() };
            assert_eq!(url.parse(), Ok(expected), "{url}");
        }
        for url in ["h:1", "http://h:1", "wss://h:1", "ws://u@h:1", "ws://:1", "/gate", ""] {
            assert!(url.parse::<Address>().is_err(), "{url}");
        }
    }

    #[test]
    fn the_gates_answer_is_read_as_clients_do() {
        let gate: Address = "ws://gate.test:3014/gate".parse().unwrap();
        let check = |answer: Value, expected: &str| {
            let told = address(&gate, &answer).map(|at| format!("{}{}", at.addr, at.path));
            assert_eq!(told.unwrap_or_else(|error| error.to_string()), expected);
        };
        check(json!({ "host": "c.test", "port": 3050 }), "c.test:3050/");
        check(json!({ "host": "c.test:80/ws?", "port": 80 }), "c.test:80/ws?:80");
        check(json!({ "host": "", "port": 3050 }), "gate.test:3050/");
        let extended = json!({ "host": "[::1]", "port": 80, "tls": false, "path": "/ws" });
        check(extended, "[::1]:80/ws");
        let secure = json!({ "host": "c", "port": 1, "tls": true });
        assert!(address(&gate, &secure).unwrap_err().to_string().contains("TLS"));
        assert!(address(&gate, &json!({ "host": "c" })).is_err());
    }
}
