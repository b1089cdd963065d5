//! Simulated machines, each with one real service.

use std::{sync::Arc, time::Duration};

use chassis::{App, Clock, Net, Rng, World};
use clap::Parser;
use cluster::{Discovery, Shard, View};
use tokio::sync::{Notify, watch};
use turmoil::Sim;

use crate::{net::Turmoil, store::Shared};

/// Where shards listen.
const CHAT_PORT: u16 = 6050;
/// Where clients connect.
pub(crate) const CLIENT_PORT: u16 = 3050;

/// Where the clients are.
pub(crate) const PEOPLE: &str = "people";

/// How long a connector takes clients after it was asked to end.
const ACCEPT_GRACE: Duration = Duration::from_millis(500);

/// The wall clock when a simulation begins, milliseconds since 1970.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// What the processes of the cluster show to each other.
const TOKEN_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/cluster-token");

/// The shard of this name, as it is listed.
pub(crate) fn listed(id: &str) -> Shard {
    Shard { id: id.parse().expect("a shard's name"), addr: format!("{id}:{CHAT_PORT}") }
}

pub(crate) fn view(ids: &[String]) -> View {
    View::new(ids.iter().map(|id| listed(id)))
}

/// The outside world of the current host. A host that was restarted draws other
/// numbers than before.
fn world(seed: u64, name: &str, network: &Turmoil) -> World {
    let elapsed = turmoil::sim_elapsed().expect("in a simulation");
    let now = u64::try_from(elapsed.as_millis()).expect("a short simulation");
    let mix = name.bytes().fold(seed, |mix, byte| mix.wrapping_mul(31).wrapping_add(byte.into()));
    World {
        net: Net::simulated(Arc::new(network.clone())),
        clock: Clock::starting_at(EPOCH_MS + now),
        rng: Rng::seeded(mix.wrapping_add(now << 20)),
    }
}

/// What all services are told.
fn args(name: &str, shards: &[String]) -> Vec<String> {
    let list: Vec<String> = shards.iter().map(|id| format!("{id}={id}:{CHAT_PORT}")).collect();
    vec![
        name.to_owned(),
        format!("--shards={}", list.join(",")),
        format!("--cluster-token-file={TOKEN_FILE}"),
    ]
}

/// What a host is made from, each time that it starts.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) id: String,
    pub(crate) seed: u64,
    /// All shards.
    pub(crate) shards: Vec<String>,
    /// A view that the plan sets; none: the service finds out by itself.
    pub(crate) view: Option<Arc<watch::Sender<View>>>,
    /// Kills the process.
    pub(crate) off: Arc<Notify>,
    /// Asks the process to end, as a signal does.
    pub(crate) stop: Arc<Notify>,
    /// The log that all shards share.
    pub(crate) store: Option<Shared>,
    /// How long an empty room stays loaded.
    pub(crate) room_idle: Option<Duration>,
}

/// Runs a service until its host is switched off; after that nothing happens on it.
async fn until_off(
    off: &Notify,
    service: impl AsyncFnOnce(&Turmoil) -> anyhow::Result<()>,
) -> turmoil::Result {
    let network = Turmoil::default();
    let switch = async {
        off.notified().await;
        network.power_off();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = switch => {}
        ended = service(&network) => ended?,
    }
    // It has ended by itself; nothing happens until it is started anew.
    off.notified().await;
    std::future::pending().await
}

impl Host {
    fn discovery(&self) -> Option<Arc<dyn Discovery>> {
        self.view.clone().map(|view| view as Arc<dyn Discovery>)
    }

    fn store(&self) -> Option<Arc<dyn store::Store>> {
        let store = self.store.as_ref()?;
        Some(Arc::new(store.seen_by(&self.id)))
    }

    /// Adds a chat shard to the simulation.
    pub(crate) fn chat(self, sim: &mut Sim<'_>) {
        sim.host(self.id.clone(), move || {
            let host = self.clone();
            async move {
                let serve = async |network: &Turmoil| {
                    let mut args = args("chat", &host.shards);
                    args.push(format!("--shard-id={}", host.id));
                    args.push(format!("--grpc-addr=127.0.0.1:{CHAT_PORT}"));
                    let idle =
                        host.room_idle.map(|idle| format!("--room-idle={}ms", idle.as_millis()));
                    args.extend(idle);
                    let config = chat::Config::parse_from(args);
                    let mut app = App::detached(world(host.seed, &host.id, network));
                    let (views, store) = (host.discovery(), host.store());
                    let server = chat::Server::bind_with(&config, &mut app, views, store).await?;
                    app.ready().await?;
                    server.serve().await
                };
                until_off(&host.off, serve).await
            }
        });
    }

    /// Adds a connector to the simulation.
    pub(crate) fn connector(self, sim: &mut Sim<'_>) {
        sim.host(self.id.clone(), move || {
            let host = self.clone();
            async move {
                let serve = async |network: &Turmoil| {
                    let mut args = args("connector", &host.shards);
                    args.push(format!("--connector-id={}", host.id));
                    // Clients come and go as fast as faults make them.
                    args.push("--address-rooms-per-minute=0".into());
                    args.push(format!("--listen-addr=127.0.0.1:{CLIENT_PORT}"));
                    args.push("--grpc-addr=127.0.0.1:4050".into());
                    args.push(format!("--accept-grace={}ms", ACCEPT_GRACE.as_millis()));
                    args.push("--drain-time=2s".into());
                    let config = connector::Config::parse_from(args);
                    let mut app = App::detached(world(host.seed, &host.id, network));
                    let server =
                        connector::Server::bind_with(&config, &mut app, host.discovery()).await?;
                    app.ready().await?;
                    let stopper = app.stopper();
                    let stopped = async {
                        host.stop.notified().await;
                        stopper.stop(ACCEPT_GRACE).await;
                    };
                    let served = server.serve();
                    tokio::pin!(served);
                    tokio::select! {
                        served = &mut served => served?,
                        () = stopped => served.await?,
                    }
                    app.end().await
                };
                until_off(&host.off, serve).await
            }
        });
    }
}
