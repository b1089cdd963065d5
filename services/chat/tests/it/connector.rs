//! A connector that does what it is told, and knows what it is sent.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use model::{Epoch, RoomDigest, RoomId, Seq, UserName};
use rpc::chat::v1::{self as pb, Command, Event, LinkRequest, LinkResponse, command, event, reply};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Chat, PATIENCE, commands};

pub(crate) struct Connector {
    requests: mpsc::Sender<LinkRequest>,
    responses: Streaming<LinkResponse>,
    waiting: VecDeque<Event>,
    next_request: u64,
    /// Messages of the stream that brought more than heartbeats.
    pub(crate) batches: usize,
    /// The digest of the last heartbeat, and what was known when it came.
    heartbeat: Option<(u64, u64)>,
    /// What it says of the store.
    store_unreachable: bool,
    rooms: BTreeMap<String, Known>,
    /// The sessions of the joins and re-joins that were not answered yet.
    joining: BTreeMap<u64, (String, Vec<u64>)>,
    leaving: BTreeMap<u64, u64>,
    beating: Option<AbortHandle>,
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.close();
    }
}

/// What is known of a room that somebody is in.
#[derive(Clone, Debug)]
struct Known {
    at: pb::Position,
    names: BTreeSet<String>,
    sessions: BTreeSet<u64>,
}

impl Connector {
    /// Opens a link and says twice a second that it is there.
    pub(crate) async fn open(chat: &Chat, id: &str) -> Self {
        let mut link = Self::open_silent(chat, id).await;
        let requests = link.requests.clone();
        let beating = tokio::spawn(async move {
            let beat = || commands::alone(command::Command::Heartbeat(pb::LinkHeartbeat {}));
            while requests.send(beat()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        link.beating = Some(beating.abort_handle());
        link
    }

    /// Opens a link and says nothing by itself.
    pub(crate) async fn open_silent(chat: &Chat, id: &str) -> Self {
        let mut link = Self::try_open(chat, vec![commands::hello(id)]).await.unwrap();
        let volatile = if chat.volatile { ", volatile" } else { "" };
        assert_eq!(link.told().await, format!("welcome of {}{volatile}", chat.id));
        link
    }

    /// Opens a stream that begins with `commands`.
    pub(crate) async fn try_open(
        chat: &Chat,
        commands: Vec<command::Command>,
    ) -> Result<Self, Status> {
        let (requests, stream) = mpsc::channel(64);
        let commands =
            commands.into_iter().map(|command| Command { request_id: 0, command: Some(command) });
        requests.send(LinkRequest { commands: commands.collect() }).await.unwrap();
        let responses = chat.rpc().link(ReceiverStream::new(stream)).await?.into_inner();
        Ok(Self {
            requests,
            responses,
            waiting: VecDeque::new(),
            next_request: 1,
            batches: 0,
            heartbeat: None,
            store_unreachable: false,
            rooms: BTreeMap::new(),
            joining: BTreeMap::new(),
            leaving: BTreeMap::new(),
            beating: None,
        })
    }

    /// Sends commands as one message, numbered from the last one on.
    pub(crate) async fn send(&mut self, commands: impl IntoIterator<Item = command::Command>) {
        let numbered = commands.into_iter().map(|command| {
            let request_id = self.next_request;
            self.next_request += 1;
            self.note(request_id, &command);
            Command { request_id, command: Some(command) }
        });
        let commands = numbered.collect();
        self.send_raw(LinkRequest { commands }).await;
    }

    pub(crate) async fn send_raw(&self, request: LinkRequest) {
        self.requests.send(request).await.unwrap();
    }

    /// Says that nothing will follow.
    pub(crate) fn close(&mut self) {
        self.beating.take().inspect(AbortHandle::abort);
        self.requests = mpsc::channel(1).0;
    }

    fn note(&mut self, request_id: u64, command: &command::Command) {
        match command {
            command::Command::Join(join) => {
                let sessions = vec![join.session_id];
                self.joining.insert(request_id, (join.user.clone(), sessions));
            }
            command::Command::Leave(leave) => {
                self.leaving.insert(request_id, leave.session_id);
            }
            _ => {}
        }
    }

    /// The next event that is no heartbeat, as text.
    pub(crate) async fn told(&mut self) -> String {
        let event = self.event().await.unwrap_or_else(|end| panic!("the link ended: {end:?}"));
        render(&event)
    }

    /// The next events, as text.
    pub(crate) async fn told_of(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..count {
            told.push(self.told().await);
        }
        told
    }

    /// Sends one command and gives all of `count` events that follow.
    pub(crate) async fn ask(&mut self, command: command::Command, count: usize) -> Vec<String> {
        self.send([command]).await;
        self.told_of(count).await
    }

    /// The next event that is no heartbeat; the status at the end of the link.
    /// Lets a session in: under which fence, and in which epoch.
    pub(crate) async fn fence_of_join(&mut self, join: command::Command) -> (pb::Fence, u64) {
        self.send([join]).await;
        loop {
            let event = self.event().await.unwrap().event.unwrap();
            let event::Event::Reply(pb::Reply { result: Some(result), .. }) = event else {
                continue;
            };
            let reply::Result::Joined(joined) = result else { panic!("{result:?}") };
            return (joined.fence.unwrap(), joined.position.unwrap().epoch);
        }
    }

    pub(crate) async fn event(&mut self) -> Result<Event, Option<Status>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.any_event(deadline).await?;
            if !is_heartbeat(&event) {
                return Ok(event);
            }
        }
    }

    async fn any_event(&mut self, deadline: Instant) -> Result<Event, Option<Status>> {
        while self.waiting.is_empty() {
            let response = timeout_at(deadline, self.responses.message()).await;
            let response = response.expect("an event").map_err(Some)?.ok_or(None)?;
            self.batches += usize::from(!response.events.iter().all(is_heartbeat));
            self.waiting.extend(response.events);
        }
        let event = self.waiting.pop_front().unwrap();
        self.learn(event.event.as_ref().unwrap());
        Ok(event)
    }

    /// Reads to the end of the link, and says why it came.
    pub(crate) async fn end(&mut self) -> Option<Status> {
        loop {
            if let Err(end) = self.event().await {
                return end;
            }
        }
    }

    /// Waits for a heartbeat after all that was read, and checks its digest. Nothing
    /// else may come before it.
    pub(crate) async fn check_digest(&mut self) -> u64 {
        self.heartbeat = None;
        while self.heartbeat.is_none() {
            let event = self.any_event(Instant::now() + PATIENCE).await.unwrap();
            assert!(is_heartbeat(&event), "{}", render(&event));
        }
        let (theirs, ours) = self.heartbeat.unwrap();
        assert_eq!(theirs, ours, "{:?}", self.rooms);
        ours
    }

    /// Waits until the heartbeats say whether the store can be reached. Nothing else may
    /// come before.
    pub(crate) async fn until_store_unreachable(&mut self, expected: bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.any_event(deadline).await.unwrap();
            assert!(is_heartbeat(&event), "{}", render(&event));
            if self.store_unreachable == expected {
                return;
            }
        }
    }

    /// Up to where this link has the room.
    pub(crate) fn at(&self, room: &str) -> pb::Position {
        self.rooms[room].at
    }

    /// What the next heartbeats should say.
    fn digest(&self) -> u64 {
        let digest = |(room, known): (&String, &Known)| {
            let (epoch, head) = (Epoch(known.at.epoch), Seq(known.at.seq));
            let mut digest = RoomDigest::new(&RoomId::parse(room).unwrap(), epoch, head);
            known.names.iter().for_each(|name| digest.add(&UserName::parse(name).unwrap()));
            digest.value()
        };
        self.rooms.iter().map(digest).fold(0, u64::wrapping_add)
    }

    fn learn(&mut self, event: &event::Event) {
        match event {
            event::Event::Heartbeat(heartbeat) => {
                self.heartbeat = Some((heartbeat.digest, self.digest()));
                self.store_unreachable = heartbeat.store_unreachable;
            }
            event::Event::Entry(entry) => {
                let known = self.rooms.get_mut(&entry.room).expect("an entry of our room");
                assert_eq!(known.at.seq, entry.prev, "the chain");
                known.at.seq = entry.seq;
            }
            event::Event::Presence(presence) => {
                // Unless nobody told us that we are in.
                let Some(known) = self.rooms.get_mut(&presence.room) else { return };
                let changed = match presence.joined {
                    true => known.names.insert(presence.user.clone()),
                    false => known.names.remove(&presence.user),
                };
                assert!(changed, "{} twice", presence.user);
            }
            event::Event::CloseSession(close) => self.remove(&close.room, close.session_id),
            event::Event::Moved(moved) => drop(self.rooms.remove(&moved.room)),
            event::Event::Reply(reply) => self.learn_reply(reply),
            event::Event::Welcome(_) | event::Event::GoAway(_) | event::Event::Redacted(_) => {}
        }
    }

    fn learn_reply(&mut self, reply: &pb::Reply) {
        match reply.result.as_ref().unwrap() {
            reply::Result::Joined(joined) => {
                let (name, sessions) = self.joining.remove(&reply.request_id).unwrap();
                let known = self.rooms.entry(reply.room.clone()).or_insert_with(|| {
                    let others = joined.roster.iter().filter(|o| !joined.announced || **o != name);
                    Known {
                        at: joined.position.unwrap(),
                        names: others.cloned().collect(),
                        sessions: BTreeSet::new(),
                    }
                });
                known.sessions.extend(sessions);
            }
            reply::Result::Rejoined(rejoined) => {
                let known = Known {
                    at: rejoined.position.unwrap(),
                    names: rejoined.roster.iter().cloned().collect(),
                    sessions: rejoined.readmitted.iter().map(|back| back.session_id).collect(),
                };
                self.rooms.insert(reply.room.clone(), known);
                self.remove(&reply.room, 0);
            }
            reply::Result::Gone(_) => {
                if let Some(session) = self.leaving.remove(&reply.request_id) {
                    self.remove(&reply.room, session);
                }
            }
            _ => {}
        }
    }

    fn remove(&mut self, room: &str, session: u64) {
        if let Some(known) = self.rooms.get_mut(room) {
            known.sessions.remove(&session);
            if known.sessions.is_empty() {
                self.rooms.remove(room);
            }
        }
    }
}

fn is_heartbeat(event: &Event) -> bool {
    matches!(event.event, Some(event::Event::Heartbeat(_)))
}

fn render(event: &Event) -> String {
    match event.event.as_ref().unwrap() {
        event::Event::Welcome(welcome) => {
            let volatile = if welcome.volatile { ", volatile" } else { "" };
            format!("welcome of {}{volatile}", welcome.shard_id)
        }
        event::Event::Heartbeat(_) => "heartbeat".into(),
        event::Event::Reply(reply) => format!("#{} {}", reply.request_id, answer(reply)),
        event::Event::Entry(e) => {
            let to = if e.target == "*" { String::new() } else { format!(">{}", e.target) };
            format!("{}<{} {}{to}: {}", e.seq, e.prev, e.author, e.content)
        }
        event::Event::Presence(p) => {
            let own = if p.session_id == 0 { String::new() } else { format!("({})", p.session_id) };
            format!("{}{}{own}", if p.joined { "+" } else { "-" }, p.user)
        }
        event::Event::Moved(moved) => format!("moved{}", shard(moved.shard.as_ref())),
        event::Event::CloseSession(close) => {
            format!("close {}: {}", close.session_id, close.reason)
        }
        event::Event::GoAway(_) => "go away".into(),
        event::Event::Redacted(redacted) => format!("{} redacted", redacted.seq),
    }
}

fn shard(shard: Option<&pb::ShardAddress>) -> String {
    shard.map(|shard| format!(" to {} {}", shard.shard_id, shard.addr)).unwrap_or_default()
}

fn seqs(entries: &[pb::Entry]) -> Vec<String> {
    // What says nothing any more has a sign.
    let sign = |e: &pb::Entry| if e.redacted && e.content.is_empty() { "-" } else { "" };
    entries.iter().map(|e| format!("{}{}", e.seq, sign(e))).collect()
}

fn missed(entries: &[pb::Entry]) -> String {
    let all = seqs(entries).join(" ");
    if all.is_empty() { all } else { format!(" missed {all}") }
}

/// `Truncated:3`: 3 is the first that is left.
fn verdict(verdict: pb::Verdict, first: u64) -> String {
    let first = if first == 0 { String::new() } else { format!(":{first}") };
    format!("{verdict:?}{first}")
}

fn answer(reply: &pb::Reply) -> String {
    match reply.result.as_ref().unwrap() {
        reply::Result::Refused(refused) => {
            format!("{:?}{}", refused.reason(), shard(refused.shard.as_ref()))
        }
        reply::Result::Joined(joined) => {
            let new = if joined.announced { " new" } else { "" };
            let (at, roster) = (joined.position.unwrap().seq, joined.roster.join(" "));
            let verdict = match joined.verdict() {
                pb::Verdict::Unspecified => String::new(),
                verdict => format!(" {}", self::verdict(verdict, joined.first)),
            };
            format!("in @{at} [{roster}]{new}{verdict}{}", missed(&joined.entries))
        }
        reply::Result::Gone(_) => "gone".into(),
        reply::Result::Published(published) => {
            format!("stored {}", published.position.unwrap().seq)
        }
        reply::Result::Rejoined(back) => {
            let verdict = verdict(back.verdict(), back.first);
            let mut text = format!("{verdict} @{}", back.position.unwrap().seq);
            text += &format!(" [{}]", back.roster.join(" "));
            if !back.refused_session_ids.is_empty() {
                text += &format!(" not {:?}", back.refused_session_ids);
            }
            text + &missed(&back.entries)
        }
        reply::Result::Fetched(fetched) => {
            let complete = if fetched.complete { "complete" } else { "not complete" };
            format!("{complete} [{}]", seqs(&fetched.entries).join(" "))
        }
        reply::Result::HistoryPage(page) => {
            let taken = if page.taken == 0 { String::new() } else { format!("{}<", page.taken) };
            let more = if page.complete { "" } else { " ..." };
            format!("{taken}[{}]{more} @{}", seqs(&page.entries).join(" "), page.head)
        }
        reply::Result::RoomList(list) => {
            let room = |r: &pb::ListedRoom| format!("{} {}", r.room, r.members);
            format!("rooms: {}", list.rooms.iter().map(room).collect::<Vec<_>>().join(", "))
        }
        reply::Result::Compared(compared) => {
            let room = |r: &pb::ComparedRoom| {
                let at = r.position.map(|at| format!(" @{}", at.seq)).unwrap_or_default();
                let missing = match r.missing_session_ids.is_empty() {
                    true => String::new(),
                    false => format!(" without {:?}", r.missing_session_ids),
                };
                let known = if r.known { "" } else { " unknown" };
                format!("{}{known}{at} [{}]{missing}", r.room, r.roster.join(" "))
            };
            format!("differs: {}", compared.rooms.iter().map(room).collect::<Vec<_>>().join(", "))
        }
    }
}
