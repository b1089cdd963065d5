//! A connector with many sessions, each of which says something as soon as the last
//! thing it said was acknowledged.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, bail, ensure};
use chassis::{Clock, Net};
use rpc::chat::v1::{
    self as pb, Command, Event, LinkRequest, LinkResponse, chat_service_client::ChatServiceClient,
    command, event, reply,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{expect_some, scramble, shard::ADDR};

/// Batches that may wait for the shard.
const REQUESTS_MAX: usize = 64;
/// A shard cuts links that say nothing for three times as long.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A shard that has been started, and sessions that come in, take far less.
const START_MAX: Duration = Duration::from_secs(30);

/// Who sends where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) senders: usize,
    pub(super) rooms: usize,
    /// How long a sender thinks before it sends; none: not at all.
    pub(super) pause: Option<Duration>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// From sending to acknowledgement, one for each message.
    pub(super) latencies: Vec<Duration>,
}

pub(super) struct Senders {
    load: Load,
    content: String,
    requests: mpsc::Sender<LinkRequest>,
    responses: Streaming<LinkResponse>,
    next_request: u64,
    /// Whose message, and when it was sent, by request.
    waiting: HashMap<u64, (u64, Instant)>,
    heartbeat: tokio::time::Interval,
}

impl Senders {
    /// Opens a link and has all enter.
    pub(super) async fn enter(net: &Net, load: Load, content: usize) -> anyhow::Result<Self> {
        let opened = tokio::time::timeout(START_MAX, Self::open(net, load, content)).await;
        opened.context("nobody could enter in time")?
    }

    async fn open(net: &Net, load: Load, content: usize) -> anyhow::Result<Self> {
        let channel = loop {
            match net.channel(ADDR).await {
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let (requests, stream) = mpsc::channel(REQUESTS_MAX);
        let mut shard = ChatServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let hello = pb::Hello { connector_id: "bench".to_owned(), incarnation: 1 };
        requests.send(commands([(0, command::Command::Hello(hello))])).await?;
        let responses = shard.link(ReceiverStream::new(stream)).await?.into_inner();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut senders = Self {
            load,
            content: "x".repeat(content),
            requests,
            responses,
            next_request: 1,
            waiting: HashMap::new(),
            heartbeat,
        };
        let joins: Vec<_> = (1..=load.senders as u64).map(|id| (id, senders.join(id))).collect();
        senders.next_request += load.senders as u64;
        senders.requests.send(commands(joins)).await?;
        let mut joined = 0;
        while joined < load.senders {
            for reply in senders.replies().await? {
                let is_in = matches!(reply.result, Some(reply::Result::Joined(_)));
                ensure!(is_in, "a join failed: {reply:?}");
                joined += 1;
            }
        }
        Ok(senders)
    }

    fn room(&self, session_id: u64) -> String {
        format!("room-{}", session_id % self.load.rooms as u64)
    }

    fn join(&self, session_id: u64) -> command::Command {
        let mut identity = session_id.to_le_bytes().to_vec();
        identity.resize(16, 0);
        command::Command::Join(pb::Join {
            room: self.room(session_id),
            session_id,
            user: format!("user-{session_id}"),
            identity: identity.into(),
            ..pb::Join::default()
        })
    }

    fn publish(&mut self, session_id: u64, now: Instant) -> (u64, command::Command) {
        let request_id = self.next_request;
        self.next_request += 1;
        self.waiting.insert(request_id, (session_id, now));
        let publish = pb::Publish {
            room: self.room(session_id),
            session_id,
            target: "*".to_owned(),
            content: self.content.clone(),
            // As random as those that connectors make.
            cmid: scramble(request_id).to_le_bytes().repeat(2).into(),
        };
        (request_id, command::Command::Publish(publish))
    }

    /// Has all of them talk for a time, and waits until all is answered.
    pub(super) async fn talk(&mut self, time: Duration) -> anyhow::Result<Measured> {
        let clock = Clock::real();
        let end = clock.now() + time;
        let mut measured = Measured::default();
        let mut next: Vec<u64> = (1..=self.load.senders as u64).collect();
        while !next.is_empty() || !self.waiting.is_empty() {
            if !next.is_empty() {
                if let Some(pause) = self.load.pause {
                    self.think(pause).await?;
                }
                let now = clock.now();
                let batch: Vec<_> = next.drain(..).map(|id| self.publish(id, now)).collect();
                self.requests.send(commands(batch)).await?;
            }
            for reply in self.replies().await? {
                let waited = self.waiting.remove(&reply.request_id);
                let (session_id, sent) = waited.context("an answer to nothing")?;
                let is_stored = matches!(reply.result, Some(reply::Result::Published(_)));
                ensure!(is_stored, "a message was refused: {reply:?}");
                measured.latencies.push(clock.now() - sent);
                if clock.now() < end {
                    next.push(session_id);
                }
            }
        }
        expect_some(measured.latencies.len())?;
        Ok(measured)
    }

    /// Waits, and lives on.
    async fn think(&mut self, pause: Duration) -> anyhow::Result<()> {
        let until = Clock::real().now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                response = self.responses.message() => {
                    response?.context("the link ended")?;
                }
                _ = self.heartbeat.tick() => self.beat().await?,
            }
        }
    }

    async fn beat(&self) -> anyhow::Result<()> {
        let heartbeat = command::Command::Heartbeat(pb::LinkHeartbeat {});
        self.requests.send(commands([(0, heartbeat)])).await.context("the link ended")
    }

    /// The next answers, none at times.
    async fn replies(&mut self) -> anyhow::Result<Vec<pb::Reply>> {
        let response = tokio::select! {
            response = self.responses.message() => response?.context("the link ended")?,
            _ = self.heartbeat.tick() => {
                self.beat().await?;
                return Ok(Vec::new());
            }
        };
        let mut replies = Vec::new();
        for Event { event } in response.events {
            match event {
                Some(event::Event::Reply(reply)) => replies.push(reply),
                Some(event::Event::Moved(moved)) => bail!("a room has moved: {moved:?}"),
                _ => {}
            }
        }
        Ok(replies)
    }
}

fn commands(commands: impl IntoIterator<Item = (u64, command::Command)>) -> LinkRequest {
    let numbered = |(request_id, command)| Command { request_id, command: Some(command) };
    LinkRequest { commands: commands.into_iter().map(numbered).collect() }
}
