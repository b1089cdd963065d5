//! What is broken on purpose, and mended again.

use std::time::Duration;

use chassis::Rng;
use clap::ValueEnum;
use tokio::task::spawn_blocking;
use verify::Event;

use super::{
    proxy::{Mode, Proxy},
    system::System,
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
    pub(crate) fn suits(self, system: &System) -> bool {
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
        if system.shards.is_empty() {
            return standalone.contains(&self);
        }
        system.postgres.is_some() || !store.contains(&self)
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Breaks things, one after the other.
#[derive(Debug)]
pub(crate) struct Breaker<'a> {
    pub(crate) system: &'a mut System,
    pub(crate) recorder: &'a Recorder,
    pub(crate) rng: &'a Rng,
}

impl Breaker<'_> {
    fn draw(&self, below: usize) -> usize {
        (self.rng.u64() % below.max(1) as u64) as usize
    }

    fn begin(&self, kind: Kind, what: &str, store_stopped: bool) -> u32 {
        let (fault, kind, what) = (self.recorder.next_fault(), kind.name(), what.to_owned());
        self.recorder.add(Event::FaultBegins { fault, kind, what, store_stopped });
        fault
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
        let link = format!("connector-{} and chat-{shard}", connector + 1);
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
                let fault = self.begin(kind, &process.name, false);
                self.wait(time).await;
                process.thaw();
                self.end(fault);
                Ok(())
            }
            Kind::CutClients | Kind::StallClients => {
                let mode = if kind == Kind::CutClients { Mode::Cut } else { Mode::Stall };
                let name = self.system.connectors[connector].name.clone();
                self.way(kind, &name, &[&self.system.clients[connector]], mode, Mode::Pass, time)
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
                self.way(kind, &link, &[way], mode, Mode::Pass, time).await
            }
            Kind::CutPeers => {
                let (name, way) = (format!("chat-{shard}"), &self.system.peers[shard]);
                self.way(kind, &name, &[way], Mode::Cut, Mode::Pass, time).await
            }
            Kind::CutStore | Kind::StallStore | Kind::LateStatement | Kind::LostAnswer => {
                let (mode, then) = match kind {
                    Kind::CutStore => (Mode::Cut, Mode::Pass),
                    Kind::StallStore => (Mode::Stall, Mode::Pass),
                    Kind::LateStatement => (Mode::StallUp, Mode::Pass),
                    _ => (Mode::StallDown, Mode::Cut),
                };
                let (name, way) = (format!("chat-{shard}"), &self.system.stores[shard]);
                self.way(kind, &name, &[way], mode, then, time).await
            }
            Kind::SlowStore => {
                let ways: Vec<_> = self.system.stores.iter().collect();
                self.way(kind, "all shards", &ways, Mode::Stall, Mode::Pass, time).await
            }
            Kind::RestartStore | Kind::FreezeStore | Kind::TerminateBackEnds => {
                self.store(kind, time).await
            }
            Kind::Scale => self.scale().await,
            Kind::SplitViews => {
                let now = self.system.shards_now;
                let known: Vec<_> = (0..now).filter(|other| *other != shard).collect();
                self.system.show_to(connector, &known)?;
                let fault = self.begin(kind, &link, false);
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
        what: &str,
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
        let fault = self.begin(kind, what, kind == Kind::SlowStore);
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
        let (fault, what) = (self.recorder.next_fault(), names.join(" and "));
        let (name, store_stopped) = (kind.name(), false);
        self.recorder.add(Event::FaultBegins { fault, kind: name, what, store_stopped });
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
        let (fault, what) = (self.recorder.next_fault(), "PostgreSQL".to_owned());
        let Some(mut postgres) = self.system.postgres.take() else { return Ok(()) };
        let store_stopped = kind == Kind::FreezeStore;
        if store_stopped {
            postgres.signal_all(libc::SIGSTOP)?;
        }
        let name = kind.name();
        self.recorder.add(Event::FaultBegins { fault, kind: name, what, store_stopped });
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
            let fault = self.begin(Kind::Scale, &format!("to {count} shards"), false);
            self.system.scale(count).await?;
            self.end(fault);
            self.wait(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}
