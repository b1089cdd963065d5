//! A connector, a shard, and people in the room `r`.

use model::{Epoch, RoomDigest, RoomId, Seq, UserName};
use rpc::chat::v1::{self as pb, event::Event as E, reply::Result as R};

use crate::{
    client::{Client, EXTENDED},
    connector::Connector,
    shard::{Link, Shard, reply},
};

pub(crate) const EPOCH: u64 = 7;
/// The owner that let everybody in; its claim is entry 1.
pub(crate) const FENCE: pb::Fence = pb::Fence { r#gen: 1, term: 1 };

pub(crate) struct Scene {
    pub(crate) connector: Connector,
    pub(crate) shard: Shard,
    pub(crate) link: Link,
    pub(crate) clients: Vec<Client>,
    /// The clients' sessions.
    pub(crate) ids: Vec<u64>,
    pub(crate) names: Vec<String>,
    /// The newest entry that was made.
    pub(crate) head: u64,
}

/// How a [`Scene`] begins.
pub(crate) struct Options<'a> {
    pub(crate) args: &'a [&'a str],
    pub(crate) volatile: bool,
    pub(crate) beats: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { args: &[], volatile: true, beats: true }
    }
}

impl Scene {
    pub(crate) async fn start(names: &[&str]) -> Self {
        Self::start_with(Options::default(), names).await
    }

    pub(crate) async fn start_with(options: Options<'_>, names: &[&str]) -> Self {
        let mut shard = Shard::start("chat-0").await;
        let connector = Connector::start(options.args, &[shard.listed()]).await;
        let link = shard.welcome(options.volatile, options.beats).await;
        let (clients, ids, all) = (Vec::new(), Vec::new(), Vec::new());
        let mut scene = Self { connector, shard, link, clients, ids, names: all, head: 1 };
        for name in names {
            let client = scene.connector.client().await;
            scene.enter(client, name).await;
        }
        scene
    }

    /// Lets a client in, and takes what everybody is told of it.
    pub(crate) async fn enter(&mut self, mut client: Client, name: &str) {
        let asked = client.enter(name, "r").await;
        let (id, join) = self.link.join().await;
        self.names.push(name.to_owned());
        self.link.send_all([self.joined(id), presence(name, true, join.session_id)]).await;
        for other in &mut self.clients {
            other.expect(&[&format!("onAdd {name}")]).await;
        }
        let users = serde_json::json!({ "users": self.names });
        client.expect(&[&format!("{asked} {users}")]).await;
        self.clients.push(client);
        self.ids.push(join.session_id);
    }

    /// Lets an extended session in that says `more` beside its name. Returns the
    /// join, and the answer that it gets.
    pub(crate) async fn enter_extended(&mut self, name: &str, more: &str) -> (pb::Join, String) {
        let mut client = Client::connect_as(self.connector.addr, EXTENDED).await;
        let body = format!(r#"{{"username":"{name}","rid":"r"{more}}}"#);
        client.ask(wire::route::ENTER, &body).await;
        let (id, join) = self.link.join().await;
        self.names.push(name.to_owned());
        self.link.send_all([self.joined(id), presence(name, true, join.session_id)]).await;
        for other in &mut self.clients {
            let line = other.next().await;
            assert!(line.starts_with("onAdd "), "{line}");
        }
        let answer = client.next().await;
        self.clients.push(client);
        self.ids.push(join.session_id);
        (join, answer)
    }

    /// The answer to a join of the last of `names`.
    pub(crate) fn joined(&self, request_id: u64) -> E {
        let joined = pb::Joined {
            grant: Some(self.grant(self.names.len() as u64)),
            fence: Some(FENCE),
            position: Some(at(self.head)),
            roster: self.names.clone(),
            announced: true,
            ..pb::Joined::default()
        };
        reply(request_id, R::Joined(joined))
    }

    #[expect(clippy::unused_self, reason = "reads better")]
    pub(crate) fn grant(&self, number: u64) -> pb::Grant {
        pb::Grant { fence: Some(FENCE), number }
    }

    /// The next message for everybody.
    pub(crate) fn says(&mut self, author: &str, content: &str) -> pb::Entry {
        self.whispers(author, "*", content)
    }

    /// The next message, for one.
    pub(crate) fn whispers(&mut self, author: &str, target: &str, content: &str) -> pb::Entry {
        self.head += 1;
        entry(self.head, author, target, content)
    }

    /// The answer to a re-join by which everybody is in again and missed `entries`.
    pub(crate) fn rejoined(&self, entries: &[pb::Entry]) -> pb::Rejoined {
        let readmit = |(number, id): (usize, &u64)| pb::Readmitted {
            session_id: *id,
            grant: Some(self.grant(number as u64 + 1)),
        };
        pb::Rejoined {
            verdict: pb::Verdict::Complete.into(),
            fence: Some(FENCE),
            position: Some(at(self.head)),
            entries: entries.to_vec(),
            said: Vec::new(),
            roster: self.names.clone(),
            readmitted: self.ids.iter().enumerate().map(readmit).collect(),
            refused_session_ids: Vec::new(),
            first: 0,
        }
    }

    /// What the connector should make of all this.
    pub(crate) fn digest(&self) -> u64 {
        let room = RoomId::parse("r").unwrap();
        let mut digest = RoomDigest::new(&room, Epoch(EPOCH), Seq(self.head));
        for name in &self.names {
            digest.add(&UserName::parse(name).unwrap());
        }
        digest.value()
    }

    /// What the shard says of the room when asked to compare.
    pub(crate) fn compared(&self) -> pb::ComparedRoom {
        pb::ComparedRoom {
            room: "r".into(),
            known: true,
            position: Some(at(self.head)),
            fence: Some(FENCE),
            roster: self.names.clone(),
            missing_session_ids: Vec::new(),
        }
    }

    pub(crate) async fn everybody_gets(&mut self, lines: &[&str]) {
        for client in &mut self.clients {
            client.expect(lines).await;
        }
    }

    /// Nothing more has come to anybody.
    pub(crate) async fn silence(&mut self) {
        for client in &mut self.clients {
            client.expect_nothing().await;
        }
    }
}

pub(crate) fn at(seq: u64) -> pb::Position {
    pb::Position { epoch: EPOCH, seq }
}

pub(crate) fn entry(seq: u64, author: &str, target: &str, content: &str) -> pb::Entry {
    pb::Entry {
        room: "r".into(),
        fence: Some(FENCE),
        seq,
        prev: seq - 1,
        author: author.into(),
        target: target.into(),
        content: content.into(),
        at_ms: 1,
        cmid: format!("cmid-{seq}").into_bytes().into(),
        author_identity: vec![0; 16].into(),
        redacted: false,
    }
}

pub(crate) fn presence(user: &str, joined: bool, session_id: u64) -> E {
    let fence = Some(FENCE);
    E::Presence(pb::Presence { room: "r".into(), fence, user: user.into(), joined, session_id })
}

/// A message that is stored.
pub(crate) fn published(seq: u64) -> R {
    R::Published(pb::Published { position: Some(at(seq)), at_ms: 1 })
}
