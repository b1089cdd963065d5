//! What is broken on purpose, and mended again.

use std::time::Duration;

use chassis::Rng;
use clap::ValueEnum;
use tokio::task::spawn_blocking;
use verify::Event;

use super::{
    proxy::{Mode, Proxy},
    system::{STANDALONE, System},
};
use crate::people::recorder::Recorder;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// kill -9 of a shard, which is started again
    KillShard,
    /// kill -9 of a connector (standalone: of everything)
    KillConnector,
    /// kill -9 of a connector and a shard at once
    KillBoth,
    /// SIGSTOP of a shard, later SIGCONT
    FreezeShard,
    /// The same for a connector
    FreezeConnector,
    /// All connections between one connector and its clients end
    CutClients,
    /// Nothing passes between one connector and its clients
    StallClients,
    /// Connections between one connector and one shard end, and there are no new ones
    CutLink,
    /// Nothing passes between one connector and one shard
    StallLink,
    /// Nothing passes from one connector to one shard, or the other way
    HalfLink,
    /// Other shards do not reach one shard
    CutPeers,
    /// A shard does not reach the store
    CutStore,
    /// Nothing passes between one shard and the store
    StallStore,
    /// Statements of one shard reach the store late
    LateStatement,
    /// The store's answers to one shard are lost
    LostAnswer,
    /// PostgreSQL ends at once and is started again
    RestartStore,
    /// PostgreSQL is frozen
    FreezeStore,
    /// The store is out of reach for everybody
    SlowStore,
    /// All of PostgreSQL's back ends are terminated, several times
    TerminateBackEnds,
    /// More shards, fewer, and as many as before
    Scale,
    /// One connector does not know of one shard
    SplitViews,
}

impl Kind {
    /// True if there is something that it can be done to.
    pub(crate) fn suits(self, is_standalone: bool, has_postgres: bool) -> bool {
        let standalone =
            [Self::KillConnector, Self::FreezeConnector, Self::CutClients, Self::StallClients];
        let store = [
            Self::CutStore,
            Self::StallStore,
            Self::LateStatement,
            Self::LostAnswer,
            Self::RestartStore,
            Self::FreezeStore,
            Self::SlowStore,
            Self::TerminateBackEnds,
        ];
        if is_standalone {
            return standalone.contains(&self);
        }
        has_postgres || !store.contains(&self)
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What a fault is done to.
#[derive(Debug)]
struct Done {
    what: String,
    /// Names of connectors and shards; none: all.
    touches: Option<Vec<String>>,
}

impl Done {
    /// To processes of these names. Standalone is everything in one.
    fn to(names: &[&str]) -> Self {
        let touches = names.iter().map(|name| (*name).to_owned()).collect();
        let touches = Some(touches).filter(|_| !names.contains(&STANDALONE));
        Self { what: names.join(" and "), touches }
    }

    fn to_all(what: &str) -> Self {
        Self { what: what.to_owned(), touches: None }
    }
}

/// Breaks things, one after the other.
#[derive(Debug)]
pub(crate) struct Breaker<'a> {
    pub(crate) system: &'a mut System,
    pub(crate) recorder: &'a Recorder,
    pub(crate) rng: &'a Rng,
}

fn begin(recorder: &Recorder, kind: Kind, done: Done, store_stopped: bool) -> u32 {
    let (fault, kind) = (recorder.next_fault(), kind.name());
    let Done { what, touches } = done;
    recorder.add(Event::FaultBegins { fault, kind, what, store_stopped, touches });
    fault
}

impl Breaker<'_> {
    fn draw(&self, below: usize) -> usize {
        (self.rng.u64() % below.max(1) as u64) as usize
    }

    fn begin(&self, kind: Kind, done: Done, store_stopped: bool) -> u32 {
        begin(self.recorder, kind, done, store_stopped)
    }

    fn end(&self, fault: u32) {
        self.recorder.add(Event::FaultEnds { fault });
    }

    async fn wait(&self, time: Duration) {
        self.system.clock.sleep(time).await;
    }

    /// Breaks something for `time`; it is mended when this returns.
    pub(crate) async fn fault(&mut self, kind: Kind, time: Duration) -> anyhow::Result<()> {
        let shard = self.draw(self.system.shards_now);
        let connector = self.draw(self.system.connectors.len());
        // Who is at the connector feels it in the rooms of that shard only.
        let link = || Done {
            what: format!("connector-{} and chat-{shard}", connector + 1),
            touches: Some(vec![format!("chat-{shard}")]),
        };
        match kind {
            Kind::KillShard => self.kill(kind, Some(shard), None, time).await,
            Kind::KillConnector => self.kill(kind, None, Some(connector), time).await,
            Kind::KillBoth => self.kill(kind, Some(shard), Some(connector), time).await,
            Kind::FreezeShard | Kind::FreezeConnector => {
                let process = match kind {
                    Kind::FreezeShard => &self.system.shards[shard],
                    _ => &self.system.connectors[connector],
                };
                process.freeze();
                let fault = self.begin(kind, Done::to(&[&process.name]), false);
                self.wait(time).await;
                process.thaw();
                self.end(fault);
                Ok(())
            }
            Kind::CutClients | Kind::StallClients => {
                let mode = if kind == Kind::CutClients { Mode::Cut } else { Mode::Stall };
                let done = Done::to(&[&self.system.connectors[connector].name]);
                self.way(kind, done, &[&self.system.clients[connector]], mode, Mode::Pass, time)
                    .await
            }
            Kind::CutLink | Kind::StallLink | Kind::HalfLink => {
                let half = if self.draw(2) == 0 { Mode::StallUp } else { Mode::StallDown };
                let mode = match kind {
                    Kind::CutLink => Mode::Cut,
                    Kind::StallLink => Mode::Stall,
                    _ => half,
                };
                let way = &self.system.links[connector][shard];
                self.way(kind, link(), &[way], mode, Mode::Pass, time).await
            }
            Kind::CutPeers => {
                let done = Done::to(&[&self.system.shards[shard].name]);
                let way = &self.system.peers[shard];
                self.way(kind, done, &[way], Mode::Cut, Mode::Pass, time).await
            }
            Kind::CutStore | Kind::StallStore | Kind::LateStatement | Kind::LostAnswer => {
                let (mode, then) = match kind {
                    Kind::CutStore => (Mode::Cut, Mode::Pass),
                    Kind::StallStore => (Mode::Stall, Mode::Pass),
                    Kind::LateStatement => (Mode::StallUp, Mode::Pass),
                    _ => (Mode::StallDown, Mode::Cut),
                };
                let done = Done::to(&[&self.system.shards[shard].name]);
                self.way(kind, done, &[&self.system.stores[shard]], mode, then, time).await
            }
            Kind::SlowStore => {
                let ways: Vec<_> = self.system.stores.iter().collect();
                let done = Done::to_all("all shards");
                self.way(kind, done, &ways, Mode::Stall, Mode::Pass, time).await
            }
            Kind::RestartStore | Kind::FreezeStore | Kind::TerminateBackEnds => {
                self.store(kind, time).await
            }
            Kind::Scale => self.scale().await,
            Kind::SplitViews => {
                let now = self.system.shards_now;
                let known: Vec<_> = (0..now).filter(|other| *other != shard).collect();
                self.system.show_to(connector, &known)?;
                let fault = self.begin(kind, link(), false);
                self.wait(time).await;
                self.system.show_to(connector, &(0..now).collect::<Vec<_>>())?;
                // The lists are read each second.
                self.wait(Duration::from_secs(2)).await;
                self.end(fault);
                Ok(())
            }
        }
    }

    /// Has proxies do something for a while.
    async fn way(
        &self,
        kind: Kind,
        done: Done,
        ways: &[&Proxy],
        mode: Mode,
        then: Mode,
        time: Duration,
    ) -> anyhow::Result<()> {
        ways.iter().for_each(|way| way.set(mode));
        // What passed a proxy before may still arrive.
        if kind == Kind::SlowStore {
            self.wait(Duration::from_millis(200)).await;
        }
        let fault = self.begin(kind, done, kind == Kind::SlowStore);
        self.wait(time).await;
        if kind == Kind::SlowStore {
            self.end(fault);
        }
        ways.iter().for_each(|way| way.set(then));
        if then != Mode::Pass {
            self.wait(Duration::from_millis(200)).await;
            ways.iter().for_each(|way| way.set(Mode::Pass));
        }
        if kind != Kind::SlowStore {
            self.end(fault);
        }
        Ok(())
    }

    async fn kill(
        &mut self,
        kind: Kind,
        shard: Option<usize>,
        connector: Option<usize>,
        time: Duration,
    ) -> anyhow::Result<()> {
        let (net, clock) = (self.system.net.clone(), self.system.clock);
        let shards = self.system.shards.iter_mut().enumerate();
        let shards = shards.filter(|(number, _)| Some(*number) == shard);
        let connectors = self.system.connectors.iter_mut().enumerate();
        let connectors = connectors.filter(|(number, _)| Some(*number) == connector);
        let mut killed: Vec<_> = shards.chain(connectors).map(|(_, process)| process).collect();
        killed.iter_mut().for_each(|process| process.kill());
        let names: Vec<_> = killed.iter().map(|process| process.name.as_str()).collect();
        let done = Done::to(&names);
        let fault = begin(self.recorder, kind, done, false);
        clock.sleep(time / 2).await;
        for process in killed {
            process.start()?;
            process.ready(&net, clock).await?;
        }
        self.recorder.add(Event::FaultEnds { fault });
        Ok(())
    }

    async fn store(&mut self, kind: Kind, time: Duration) -> anyhow::Result<()> {
        let clock = self.system.clock;
        let Some(mut postgres) = self.system.postgres.take() else { return Ok(()) };
        let store_stopped = kind == Kind::FreezeStore;
        if store_stopped {
            postgres.signal_all(libc::SIGSTOP)?;
        }
        let fault = self.begin(kind, Done::to_all("PostgreSQL"), store_stopped);
        match kind {
            Kind::RestartStore => {
                let restart = move || postgres.restart(time / 2).map(|()| postgres);
                postgres = spawn_blocking(restart).await??;
            }
            Kind::FreezeStore => clock.sleep(time).await,
            _ => {
                for _ in 0..5 {
                    postgres.terminate_back_ends()?;
                    clock.sleep(time / 5).await;
                }
            }
        }
        self.recorder.add(Event::FaultEnds { fault });
        if store_stopped {
            postgres.signal_all(libc::SIGCONT)?;
        }
        self.system.postgres = Some(postgres);
        Ok(())
    }

    /// To twice as many shards, to two, and back.
    async fn scale(&mut self) -> anyhow::Result<()> {
        let now = self.system.shards_now;
        for count in [super::system::SHARDS_MAX, 2.min(now), now] {
            // Felt in rooms that move, by whomever.
            let (what, touches) = (format!("to {count} shards"), Some(Vec::new()));
            let fault = self.begin(Kind::Scale, Done { what, touches }, false);
            self.system.scale(count).await?;
            self.end(fault);
            self.wait(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}
