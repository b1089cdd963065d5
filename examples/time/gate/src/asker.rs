//! Asks the time server of a user.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chassis::{App, Policy, StartError, World};
use cluster::{Discovery, HealthDiscovery, Shard, View};
use gate::BeforeEntry;
use model::{ShardId, UserName};
use rpc::Access;
use time_rpc::time::v1::{
    GetCurrentTimeRequest, time_service_client::TimeServiceClient,
    time_service_server::SERVICE_NAME,
};
use tokio::{sync::watch, time::timeout};
use tonic::{Code, Request, transport::Channel};

use crate::{
    Config,
    metrics::{Metrics, ResultLabel},
};

/// How long a time server may take, connecting to it included. Well below what a gate
/// grants ([`gate::BEFORE_ENTRY_MAX`]), so that it is this crate that knows why.
const DEADLINE: Duration = Duration::from_millis(250);

/// Asks, as a [`BeforeEntry`] of a gate.
#[derive(Debug)]
pub struct Asker {
    view: watch::Receiver<View>,
    world: World,
    access: Access,
    metrics: Metrics,
    /// One channel per server of the view; a broken one is replaced at the next call.
    channels: Mutex<HashMap<String, Channel>>,
}

/// What a time server said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// Which one.
    pub server_id: String,
    /// Milliseconds since 1970, by its clock.
    pub unix_ms: u64,
}

/// Why none said anything.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// None is ready.
    #[error("no time server is ready")]
    NoServer,
    /// It took too long.
    #[error("{0} did not answer within {ms} ms", ms = DEADLINE.as_millis())]
    Late(ShardId),
    /// It cannot be reached.
    #[error("connect to {0}")]
    Connect(ShardId, #[source] tonic::transport::Error),
    /// It refused, or the connection broke.
    // Without its source, which repeats the message.
    #[error("call {0}: {message}", message = .1.message())]
    Call(ShardId, Box<tonic::Status>),
}

impl Unanswered {
    fn label(&self) -> &'static str {
        match self {
            Self::NoServer => "no_server",
            Self::Late(_) => "late",
            Self::Connect(..) | Self::Call(..) => "failed",
        }
    }
}

/// The routing: the server for a user, while the ready ones stay the same.
fn server_of<'a>(view: &'a View, user: &UserName) -> Option<&'a Shard> {
    view.owner_of(user.as_str())
}

impl Asker {
    /// Begins to watch the listed servers, until shutdown.
    ///
    /// # Errors
    ///
    /// An unreadable token.
    pub fn start(config: &Config, app: &mut App) -> Result<Arc<Self>, StartError> {
        let access = config.gate.access.load(config.gate.grpc_addr, app)?;
        let metrics = Metrics::register(app.registry());
        let world = app.world().clone();
        let (net, rng) = (world.net.clone(), world.rng.clone());
        let dial: cluster::Dial = Arc::new(move |addr| {
            let net = net.clone();
            Box::pin(async move { net.channel(&addr).await })
        });
        let jitter: cluster::Jitter = Arc::new(move |max| rng.up_to(max));
        let servers = config.time_servers.clone().into();
        let (discovery, run) = HealthDiscovery::of(SERVICE_NAME, servers, None, dial, jitter);
        let shutdown = app.shutdown();
        app.tasks().spawn("time_servers", Policy::Critical, async move {
            shutdown.run_until_cancelled(run).await;
        });
        let channels = Mutex::default();
        Ok(Arc::new(Self { view: discovery.view(), world, access, metrics, channels }))
    }

    /// Asks the user's time server for the time, within 250 ms.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] says why there is no answer; nothing is tried twice.
    pub async fn ask(&self, user: &UserName) -> Result<Told, Unanswered> {
        let began_at = self.world.clock.now();
        let server = server_of(&self.view.borrow(), user).cloned();
        let told = match server {
            None => Err(Unanswered::NoServer),
            Some(server) => match timeout(DEADLINE, self.call(&server, user)).await {
                Ok(told) => told,
                Err(_) => Err(Unanswered::Late(server.id)),
            },
        };
        let result = told.as_ref().map_or_else(Unanswered::label, |_| "ok");
        self.metrics.calls.get_or_create(&ResultLabel { result }).inc();
        if result != "no_server" {
            let took = self.world.clock.now() - began_at;
            self.metrics.call_seconds.observe(took.as_secs_f64());
        }
        told
    }

    async fn call(&self, server: &Shard, user: &UserName) -> Result<Told, Unanswered> {
        let channel = self.channel(server).await?;
        let mut request = Request::new(GetCurrentTimeRequest { key: user.to_string() });
        // So that the server knows, too, when nobody waits any more.
        request.set_timeout(DEADLINE);
        self.access.sign(&mut request);
        match TimeServiceClient::new(channel).get_current_time(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(Told { server_id: answer.server_id, unix_ms: answer.unix_ms })
            }
            // Both ends watch the clock: the transport may be the first to say so.
            Err(status) if matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) => {
                Err(Unanswered::Late(server.id.clone()))
            }
            Err(status) => {
                self.channels().remove(&server.addr);
                Err(Unanswered::Call(server.id.clone(), Box::new(status)))
            }
        }
    }

    async fn channel(&self, server: &Shard) -> Result<Channel, Unanswered> {
        if let Some(channel) = self.channels().get(&server.addr) {
            return Ok(channel.clone());
        }
        let channel = self.world.net.channel(&server.addr).await;
        let channel = channel.map_err(|error| Unanswered::Connect(server.id.clone(), error))?;
        let view = self.view.borrow().clone();
        let mut channels = self.channels();
        channels.retain(|addr, _| view.shards().iter().any(|shard| shard.addr == *addr));
        channels.insert(server.addr.clone(), channel.clone());
        Ok(channel)
    }

    /// Every change leaves the map whole.
    fn channels(&self) -> MutexGuard<'_, HashMap<String, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BeforeEntry for Asker {
    async fn before_entry(&self, user: &UserName) {
        match self.ask(user).await {
            Ok(Told { server_id, unix_ms }) => {
                tracing::debug!(%user, server_id, unix_ms, "time told");
            }
            Err(error) => {
                tracing::debug!(%user, error = chassis::chain(&error), "time not told");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(ids: &[&str]) -> View {
        let shard = |id: &&str| Shard { id: id.parse().unwrap(), addr: format!("{id}:7000") };
        View::new(ids.iter().map(shard))
    }

    #[track_caller]
    fn check(ids: &[&str], users: &[&str], expected: &[&str]) {
        let view = view(ids);
        let places = users.iter().map(|user| {
            let user = UserName::parse(user).unwrap();
            server_of(&view, &user).map_or("nobody", |server| server.id.as_str())
        });
        assert_eq!(places.collect::<Vec<_>>(), expected);
    }

    const USERS: [&str; 6] = ["ann", "gus", "hal", "ivy", "Jos\u{e9}", "Jose\u{301}"];

    #[test]
    fn a_name_has_one_server_whatever_the_order_and_the_spelling() {
        let placed = ["time-0", "time-1", "time-0", "time-1", "time-0", "time-0"];
        check(&["time-0", "time-1"], &USERS, &placed);
        check(&["time-1", "time-0"], &USERS, &placed);
    }

    #[test]
    fn a_server_that_is_gone_leaves_the_others_their_users() {
        check(&["time-0"], &USERS, &["time-0"; 6]);
        check(&[], &["ann"], &["nobody"]);
    }
}
