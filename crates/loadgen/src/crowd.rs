//! Many clients in rooms, some of whom talk.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{bail, ensure};
use bytes::Bytes;
use chassis::{Clock, Net};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use wire::RawId;

use crate::client::{Client, Counts, STAMP, request};

/// Bursts that may wait for one sender's socket.
const BURSTS_MAX: usize = 64;

/// Who the clients are, and where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) connectors: Vec<String>,
    pub(crate) sessions: usize,
    /// None: connect, but enter no room.
    pub(crate) rooms: Option<usize>,
    /// How many of them may talk.
    pub(crate) senders: usize,
    /// Logins at a time.
    pub(crate) concurrency: usize,
    /// Distinguishes these clients from those of other crowds.
    pub(crate) name: String,
}

/// How they talk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    /// Messages per second, of all senders together.
    pub(crate) rate: f64,
    /// Messages that one sender sends in one write.
    pub(crate) burst: usize,
    /// Bytes of a message's content.
    pub(crate) content: usize,
    pub(crate) time: Duration,
}

pub(crate) struct Crowd {
    pub(crate) counts: Arc<Counts>,
    senders: Vec<mpsc::Sender<Bytes>>,
    start: Instant,
    _clients: JoinSet<()>,
}

impl Crowd {
    /// Connects everybody and waits until all are in and quiet.
    pub(crate) async fn gather(plan: &Plan) -> anyhow::Result<Self> {
        ensure!(!plan.connectors.is_empty(), "no connector given");
        let (net, counts) = (Net::real(), Arc::new(Counts::default()));
        let start = Clock::real().now();
        let mut logins = stream::iter(0..plan.sessions)
            .map(|number| log_in(&net, plan, number))
            .buffered(plan.concurrency);
        let (mut clients, mut senders) = (JoinSet::new(), Vec::new());
        while let Some(client) = logins.try_next().await? {
            let requests = (senders.len() < plan.senders).then(|| {
                let (sender, requests) = mpsc::channel(BURSTS_MAX);
                senders.push(sender);
                requests
            });
            let counts = Arc::clone(&counts);
            clients.spawn(async move {
                // It never ends well: the server is expected to stay.
                if let Err(error) = client.live(&counts, requests, start).await {
                    let _ = counts.first_close.set(chassis::chain(error.as_ref()));
                }
                counts.closes.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(logins);
        let crowd = Self { counts, senders, start, _clients: clients };
        crowd.calm().await;
        Ok(crowd)
    }

    /// Has the senders talk, one after the other, for a time. Returns how many
    /// messages they sent.
    pub(crate) async fn talk(&self, talk: Talk) -> anyhow::Result<u64> {
        ensure!(!self.senders.is_empty(), "nobody may talk");
        let interval = Duration::from_secs_f64(talk.burst as f64 / talk.rate);
        let mut ticks = tokio::time::interval(interval);
        let end = Clock::real().now() + talk.time;
        let mut sent = 0_u64;
        for sender in self.senders.iter().cycle() {
            if ticks.tick().await >= end {
                break;
            }
            let mut bytes = Vec::new();
            for _ in 0..talk.burst {
                sent += 1;
                bytes.extend(self.message(sent, talk.content)?);
            }
            if sender.send(bytes.into()).await.is_err() {
                bail!("a sender was closed: {:?}", self.counts.first_close.get());
            }
        }
        Ok(sent)
    }

    /// Waits until `count` messages have arrived since `before`.
    pub(crate) async fn wait_for(&self, before: u64, count: u64) -> anyhow::Result<()> {
        let deadline = Clock::real().now() + Duration::from_secs(20);
        loop {
            let arrived = Counts::get(&self.counts.deliveries) - before;
            if arrived >= count {
                return Ok(());
            }
            if Clock::real().now() > deadline {
                let refusals = Counts::get(&self.counts.refusals);
                bail!("{arrived} of {count} deliveries arrived, {refusals} sends were refused");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until nothing has been pushed for half a second.
    async fn calm(&self) {
        let mut before = u64::MAX;
        loop {
            let now = Counts::get(&self.counts.pushes);
            if now == before {
                return;
            }
            before = now;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn message(&self, number: u64, len: usize) -> anyhow::Result<Vec<u8>> {
        let micros = (Clock::real().now() - self.start).as_micros();
        let content = format!("{STAMP}{micros} {:.<len$}", "");
        let content = &content[..len.max(STAMP.len() + 17).min(content.len())];
        let body = json!({"content": content, "target": "*", "rid": "", "from": ""});
        let id = RawId::new((number % 1_000_000) as u32 + 2);
        request(&id, wire::route::SEND, &serde_json::to_vec(&body)?)
    }
}

async fn log_in(net: &Net, plan: &Plan, number: usize) -> anyhow::Result<Client> {
    let connector = &plan.connectors[number % plan.connectors.len()];
    let mut client = Client::connect(net, connector).await?;
    if let Some(rooms) = plan.rooms {
        let (user, room) = (format!("{}{number}", plan.name), number % rooms);
        let body = json!({"username": user, "rid": format!("{}-room-{room}", plan.name)});
        let answer = client.call(wire::route::ENTER, &body).await?;
        ensure!(answer["users"].is_array(), "enter refused: {answer}");
    }
    Ok(client)
}
