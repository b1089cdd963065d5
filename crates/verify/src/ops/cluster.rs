//! A cluster without Kubernetes: the real processes, each with a fake API server, a
//! PostgreSQL, and proxies between all of them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use chassis::{App, Clock, Net, Tasks, World};
use postgres_server::PostgresServer;

use super::{
    probes,
    view::{CHAT, CONNECTOR, Pods, Seen, View},
};
use crate::run::{
    process::{Process, free_port},
    proxy::{Mode, Proxy},
    system::words,
};

/// How long processes may take until they know each other, or have ended.
const SETTLED: Duration = Duration::from_secs(60);
/// The API server shows that a pod ends this long before its kubelet tells the process;
/// on a busy node it was 1.4 s.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// Runs a program with as many descriptors as a process usually has.
const FEW_DESCRIPTORS: &str = r#"ulimit -Sn 1024; exec "$0" "$@""#;

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) connectors: usize,
    /// Shards that run from the beginning on.
    pub(crate) shards: usize,
    /// Shards that may be started.
    pub(crate) spare: usize,
    /// More flags of the connectors.
    pub(crate) flags: &'static [&'static str],
    /// Connectors may have 1024 descriptors at first.
    pub(crate) few_descriptors: bool,
}

impl Size {
    pub(crate) const fn new(connectors: usize, shards: usize) -> Self {
        Self { connectors, shards, spare: 0, flags: &[], few_descriptors: false }
    }
}

/// A process, as Kubernetes has it.
#[derive(Debug)]
pub(crate) struct PodOf {
    pub(crate) process: Process,
    pub(crate) grpc: SocketAddr,
    pub(crate) seen: Option<Seen>,
    pub(crate) view: View,
    /// Where a connector takes clients, beside `way`.
    pub(crate) listen: Option<SocketAddr>,
    /// A shard's way to the store, a connector's from its clients.
    pub(crate) way: Proxy,
    /// The ways from it to each shard.
    pub(crate) to_shards: Vec<Proxy>,
}

/// All that runs. It ends with this value.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) net: Net,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) bin_dir: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) gate: Process,
    pub(crate) gate_addr: SocketAddr,
    pub(crate) gate_grpc: SocketAddr,
    pub(crate) gate_view: View,
    pub(crate) connectors: Vec<PodOf>,
    pub(crate) shards: Vec<PodOf>,
    pub(crate) postgres: Option<PostgresServer>,
    _app: App,
}

impl Cluster {
    /// Starts everything, and waits until all know each other.
    pub(crate) async fn start(
        bin_dir: PathBuf,
        folder: PathBuf,
        size: Size,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let world = World::real();
        let app = App::detached(world.clone());
        let (net, clock, tasks) = (world.net.clone(), world.clock, app.tasks().clone());
        let port = free_port(&net).await?.port();
        // It blocks, but nobody is there yet.
        let postgres = PostgresServer::start(folder.join("postgres"), port, &[])?;
        let gate_view = View::start(&net, &folder, "gate", CONNECTOR).await?;
        let (gate_addr, gate_grpc) = (free_port(&net).await?, free_port(&net).await?);
        let mut args = words(&["--listen-addr", &gate_addr.to_string()]);
        args.extend(words(&["--grpc-addr", &gate_grpc.to_string()]));
        args.extend(gate_view.args());
        let admin = free_port(&net).await?;
        let gate = Process::new("gate", bin_dir.join("gate"), args, admin, folder.join("gate.log"));
        let (connectors, shards) = (Vec::new(), Vec::new());
        let mut cluster = Self {
            net,
            clock,
            tasks,
            bin_dir,
            folder,
            gate,
            gate_addr,
            gate_grpc,
            gate_view,
            connectors,
            shards,
            postgres: Some(postgres),
            _app: app,
        };
        cluster.add_all(size).await?;
        cluster.gate.start()?;
        for shard in 0..size.shards {
            cluster.shards[shard].process.start()?;
        }
        for connector in &mut cluster.connectors {
            connector.process.start()?;
        }
        let (net, clock) = (cluster.net.clone(), cluster.clock);
        cluster.gate.ready(&net, clock).await?;
        let shards = cluster.shards.iter_mut().take(size.shards);
        for pod in shards.chain(cluster.connectors.iter_mut()) {
            pod.process.ready(&net, clock).await?;
            pod.seen = Some(Seen::Ready);
        }
        cluster.publish();
        cluster.settled(size.shards).await?;
        Ok(cluster)
    }

    async fn add_all(&mut self, size: Size) -> anyhow::Result<()> {
        let shards = size.shards + size.spare;
        let mut addrs = Vec::new();
        for _ in 0..shards {
            addrs.push(free_port(&self.net).await?);
        }
        for (number, grpc) in addrs.iter().enumerate() {
            let pod = self.shard(number, *grpc, &addrs).await?;
            self.shards.push(pod);
        }
        for number in 0..size.connectors {
            let mut pod = self.connector(number, &addrs, size.flags).await?;
            if size.few_descriptors {
                pod.process.wrap(PathBuf::from("sh"), &["-c", FEW_DESCRIPTORS]);
            }
            self.connectors.push(pod);
        }
        Ok(())
    }

    async fn ways(&self, addrs: &[SocketAddr]) -> anyhow::Result<Vec<Proxy>> {
        let mut ways = Vec::new();
        for addr in addrs {
            ways.push(Proxy::start(&self.net, &self.tasks, addr.to_string()).await?);
        }
        Ok(ways)
    }

    async fn shard(
        &self,
        number: usize,
        grpc: SocketAddr,
        addrs: &[SocketAddr],
    ) -> anyhow::Result<PodOf> {
        let name = format!("uid-of-chat-{number}");
        let view = View::start(&self.net, &self.folder, &name, CHAT).await?;
        let port = self.postgres.as_ref().context("a store")?.port();
        let to = format!("127.0.0.1:{port}");
        let way = Proxy::start(&self.net, &self.tasks, to).await?;
        let mut args = words(&["--shard-id", &name, "--grpc-addr", &grpc.to_string()]);
        args.extend(words(&["--store", &PostgresServer::url_by(way.addr.port())]));
        self.pod(&name, "chat", args, view, grpc, way, addrs).await
    }

    async fn connector(
        &self,
        number: usize,
        addrs: &[SocketAddr],
        flags: &[&str],
    ) -> anyhow::Result<PodOf> {
        let name = format!("connector-{number}");
        let view = View::start(&self.net, &self.folder, &name, CHAT).await?;
        let (listen, grpc) = (free_port(&self.net).await?, free_port(&self.net).await?);
        let way = Proxy::start(&self.net, &self.tasks, listen.to_string()).await?;
        let mut args = words(&["--connector-id", &name, "--listen-addr", &listen.to_string()]);
        args.extend(words(&["--grpc-addr", &grpc.to_string()]));
        args.extend(words(&["--advertise", &way.addr.to_string()]));
        args.extend(words(&["--address-rooms-per-minute", "0", "--sends-per-second", "0"]));
        args.extend(words(flags));
        let pod = self.pod(&name, "connector", args, view, grpc, way, addrs).await?;
        Ok(PodOf { listen: Some(listen), ..pod })
    }

    #[allow(clippy::too_many_arguments, reason = "all that a pod has")]
    async fn pod(
        &self,
        name: &str,
        program: &str,
        mut args: Vec<String>,
        view: View,
        grpc: SocketAddr,
        way: Proxy,
        addrs: &[SocketAddr],
    ) -> anyhow::Result<PodOf> {
        let program = self.bin_dir.join(program);
        ensure!(program.exists(), "{} is missing: build it first", program.display());
        args.extend(view.args());
        let state = self.folder.join(format!("{name}.state"));
        std::fs::create_dir_all(&state)?;
        args.extend(["--state-dir".to_owned(), state.display().to_string()]);
        let (admin, log) = (free_port(&self.net).await?, self.folder.join(format!("{name}.log")));
        let process = Process::new(name, program, args, admin, log);
        let to_shards = self.ways(addrs).await?;
        Ok(PodOf { process, grpc, seen: None, view, listen: None, way, to_shards })
    }

    /// Shows everybody who is there, as the endpoint controller does.
    pub(crate) fn publish(&mut self) {
        let connectors = self.connectors.iter();
        let all = connectors
            .filter_map(|pod| Some((pod.process.name.clone(), (pod.grpc.port(), pod.seen?))));
        self.gate_view.show(all.collect());
        let chat = self.chat();
        for pod in self.connectors.iter_mut().chain(self.shards.iter_mut()) {
            let shown = shown(&chat, pod);
            pod.view.show(shown);
        }
    }

    /// The shards that a connector is to see.
    pub(crate) fn shown_to(&self, connector: usize) -> Pods {
        shown(&self.chat(), &self.connectors[connector])
    }

    /// All shards, whoever sees them.
    fn chat(&self) -> Vec<(String, SocketAddr, Option<Seen>)> {
        self.shards.iter().map(|pod| (pod.process.name.clone(), pod.grpc, pod.seen)).collect()
    }

    /// Waits until each connector has a link to so many shards.
    pub(crate) async fn settled(&self, shards: usize) -> anyhow::Result<()> {
        for pod in &self.connectors {
            self.linked(pod, shards, SETTLED).await?;
        }
        Ok(())
    }

    /// Waits until a connector has a link to so many shards; returns how long it took.
    pub(crate) async fn linked(
        &self,
        pod: &PodOf,
        shards: usize,
        max: Duration,
    ) -> anyhow::Result<Duration> {
        let began = self.clock.now();
        loop {
            let links = probes::metric(&self.net, pod.process.admin, "connector_links").await;
            if links.is_ok_and(|links| links == shards as f64) {
                return Ok(self.clock.now() - began);
            }
            let name = &pod.process.name;
            ensure!(self.clock.now() - began < max, "{name} is not linked to {shards} shards");
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    /// A new shard, as a Deployment starts one.
    pub(crate) async fn start_shard(&mut self, number: usize) -> anyhow::Result<()> {
        let pod = &mut self.shards[number];
        pod.process.start()?;
        pod.process.ready(&self.net, self.clock).await?;
        pod.seen = Some(Seen::Ready);
        self.publish();
        Ok(())
    }

    /// Ends a shard, as a Deployment does; returns its exit code.
    pub(crate) async fn end_shard(&mut self, number: usize) -> anyhow::Result<Option<i32>> {
        self.shards[number].seen = Some(Seen::Terminating);
        self.publish();
        self.clock.sleep(TOLD_AFTER).await;
        let pod = &mut self.shards[number];
        let ended = pod.process.terminate(self.clock);
        let code = tokio::time::timeout(SETTLED, ended).await.context("it does not end")??;
        self.shards[number].seen = None;
        self.publish();
        Ok(code)
    }

    /// Kills a shard; the kubelet notices, and starts it again after a while.
    pub(crate) async fn crash_shard(
        &mut self,
        number: usize,
        gone: Duration,
    ) -> anyhow::Result<()> {
        self.shards[number].process.kill();
        self.clock.sleep(gone / 2).await;
        self.shards[number].seen = Some(Seen::Unready);
        self.publish();
        self.clock.sleep(gone / 2).await;
        self.start_shard(number).await
    }

    /// All ways from and to a shard.
    pub(crate) fn around(&self, shard: usize, mode: Mode) {
        for pod in self.connectors.iter().chain(&self.shards) {
            pod.to_shards[shard].set(mode);
        }
        let pod = &self.shards[shard];
        pod.to_shards.iter().chain([&pod.way]).for_each(|way| way.set(mode));
    }

    pub(crate) fn store(&self) -> anyhow::Result<String> {
        Ok(self.postgres.as_ref().context("the store is away")?.url())
    }

    /// Everybody, the gate included.
    pub(crate) fn processes(&self) -> Vec<&Process> {
        let pods = self.connectors.iter().chain(&self.shards).map(|pod| &pod.process);
        [&self.gate].into_iter().chain(pods).filter(|process| process.is_running()).collect()
    }
}

/// The shards as one process sees them: each by its own way, but itself.
fn shown(chat: &[(String, SocketAddr, Option<Seen>)], pod: &PodOf) -> Pods {
    let shards = chat.iter().zip(&pod.to_shards);
    let shown = shards.filter_map(|((name, grpc, seen), way)| {
        let port = if *name == pod.process.name { grpc.port() } else { way.addr.port() };
        Some((name.clone(), (port, (*seen)?)))
    });
    shown.collect()
}
