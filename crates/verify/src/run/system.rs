//! The processes under test, and the proxies between them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use chassis::{Clock, Net, Tasks};
use postgres_server::PostgresServer;

use super::{
    Options,
    process::{Process, free_port},
    proxy::Proxy,
};

/// Shards that there may be.
pub(crate) const SHARDS_MAX: usize = 6;

/// The process that is all of them.
pub(crate) const STANDALONE: &str = "standalone";

/// All that runs. It ends with this value.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) net: Net,
    pub(crate) clock: Clock,
    folder: PathBuf,
    bin_dir: PathBuf,
    /// Shards; those beyond `shards_now` do not run.
    pub(crate) shards: Vec<Process>,
    pub(crate) shards_now: usize,
    pub(crate) connectors: Vec<Process>,
    /// From clients to each connector.
    pub(crate) clients: Vec<Proxy>,
    /// From each shard to the store.
    pub(crate) stores: Vec<Proxy>,
    /// From each connector to each shard.
    pub(crate) links: Vec<Vec<Proxy>>,
    /// From all other shards to each.
    pub(crate) peers: Vec<Proxy>,
    addrs: Vec<SocketAddr>,
    pub(crate) postgres: Option<PostgresServer>,
    store: String,
    planted: String,
}

impl System {
    /// Starts everything, and waits until it is ready.
    pub(crate) async fn start(
        options: &Options,
        folder: &Path,
        net: &Net,
        tasks: &Tasks,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let mut system = Self {
            net: net.clone(),
            clock,
            folder: folder.to_owned(),
            bin_dir: options.bin_dir.clone(),
            shards: Vec::new(),
            shards_now: 0,
            connectors: Vec::new(),
            clients: Vec::new(),
            stores: Vec::new(),
            links: Vec::new(),
            peers: Vec::new(),
            addrs: Vec::new(),
            postgres: None,
            store: String::new(),
            planted: options.planted.clone(),
        };
        if options.is_standalone() {
            system.add_standalone(tasks).await?;
        } else {
            system.add_store(options).await?;
            system.add_shards(options, tasks).await?;
            for number in 0..options.connectors.get() {
                system.add_connector(number, tasks).await?;
            }
            system.show_shards(options.shards.get())?;
        }
        for process in system.connectors.iter_mut().chain(system.shards.iter_mut()) {
            if !process.name.starts_with("chat-") || process.number() < options.shards.get() {
                process.start()?;
            }
        }
        system.shards_now = if options.is_standalone() { 0 } else { options.shards.get() };
        system.all_ready().await?;
        Ok(system)
    }

    async fn add_store(&mut self, options: &Options) -> anyhow::Result<()> {
        self.store = match &options.store {
            Some(url) => url.clone(),
            None => {
                let port = free_port(&self.net).await?.port();
                let folder = self.folder.join("postgres");
                // It blocks, but nobody is there yet.
                self.postgres.insert(PostgresServer::start(folder, port, &[])?).url()
            }
        };
        Ok(())
    }

    async fn add_shards(&mut self, options: &Options, tasks: &Tasks) -> anyhow::Result<()> {
        for number in 0..SHARDS_MAX {
            let grpc = free_port(&self.net).await?;
            self.addrs.push(grpc);
            self.peers.push(Proxy::start(&self.net, tasks, grpc.to_string()).await?);
            let mut store = self.store.clone();
            if let Some(postgres) = &self.postgres {
                let to = format!("127.0.0.1:{}", postgres.port());
                let proxy = Proxy::start(&self.net, tasks, to).await?;
                store = PostgresServer::url_by(proxy.addr.port());
                self.stores.push(proxy);
            }
            let name = format!("chat-{number}");
            let shards = format!("@{}", self.list_of(&name).display());
            let mut args = words(&["--shard-id", &name, "--grpc-addr", &grpc.to_string()]);
            args.extend(words(&["--store", &store, "--shards", &shards]));
            if let Some(entries) = options.retention_entries {
                args.extend(words(&["--retention-entries", &entries.to_string()]));
            }
            let process = self.process(&name, "chat", args).await?;
            self.shards.push(process);
        }
        Ok(())
    }

    async fn add_connector(&mut self, number: usize, tasks: &Tasks) -> anyhow::Result<()> {
        let (listen, grpc) = (free_port(&self.net).await?, free_port(&self.net).await?);
        let name = format!("connector-{}", number + 1);
        let shards = format!("@{}", self.list_of(&name).display());
        let mut args = words(&["--connector-id", &name, "--listen-addr", &listen.to_string()]);
        args.extend(words(&["--grpc-addr", &grpc.to_string(), "--shards", &shards]));
        args.extend(words(&["--profile", "starter", "--address-rooms-per-minute", "0"]));
        args.extend(words(&["--sends-per-second", "0"]));
        let mut links = Vec::new();
        for shard in &self.addrs {
            links.push(Proxy::start(&self.net, tasks, shard.to_string()).await?);
        }
        self.links.push(links);
        self.clients.push(Proxy::start(&self.net, tasks, listen.to_string()).await?);
        let process = self.process(&name, "connector", args).await?;
        self.connectors.push(process);
        Ok(())
    }

    async fn add_standalone(&mut self, tasks: &Tasks) -> anyhow::Result<()> {
        self.store = format!("sqlite:{}", self.folder.join("chat.db").display());
        let mut args = words(&["--store", &self.store, "--profile", "starter"]);
        for flag in ["--web-addr", "--gate-client-addr", "--gate-grpc-addr", "--chat-grpc-addr"] {
            args.extend(words(&[flag, &free_port(&self.net).await?.to_string()]));
        }
        let listen = free_port(&self.net).await?.to_string();
        args.extend(words(&["--connector-client-addr", &listen]));
        args.extend(words(&["--connector-grpc-addr", &free_port(&self.net).await?.to_string()]));
        args.extend(words(&["--address-rooms-per-minute", "0", "--sends-per-second", "0"]));
        self.clients.push(Proxy::start(&self.net, tasks, listen).await?);
        let process = self.process(STANDALONE, STANDALONE, args).await?;
        self.connectors.push(process);
        Ok(())
    }

    async fn process(
        &self,
        name: &str,
        program: &str,
        args: Vec<String>,
    ) -> anyhow::Result<Process> {
        let program = self.bin_dir.join(program);
        ensure!(program.exists(), "{} is missing: build it first", program.display());
        let admin = free_port(&self.net).await?;
        let log = self.folder.join(format!("{name}.log"));
        let mut process = Process::new(name, program, args, admin, log);
        process.planted.clone_from(&self.planted);
        Ok(process)
    }

    fn list_of(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.shards"))
    }

    /// Shows the first `count` shards to everybody.
    pub(crate) fn show_shards(&self, count: usize) -> anyhow::Result<()> {
        for shard in 0..self.addrs.len() {
            self.show_to_shard(shard, count)?;
        }
        for connector in 0..self.links.len() {
            self.show_to(connector, &(0..count).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Shows the first `count` shards to one of them.
    fn show_to_shard(&self, shard: usize, count: usize) -> anyhow::Result<()> {
        let line = |other: usize| {
            let is_own = other == shard;
            let addr = if is_own { self.addrs[other] } else { self.peers[other].addr };
            format!("chat-{other}={addr}\n")
        };
        let list: String = (0..count).map(line).collect();
        write(&self.list_of(&format!("chat-{shard}")), &list)
    }

    /// Shows some shards to one connector.
    pub(crate) fn show_to(&self, connector: usize, shards: &[usize]) -> anyhow::Result<()> {
        let line = |shard: &usize| format!("chat-{shard}={}\n", self.links[connector][*shard].addr);
        let list: String = shards.iter().map(line).collect();
        write(&self.list_of(&format!("connector-{}", connector + 1)), &list)
    }

    /// Waits until all that should run is ready.
    pub(crate) async fn all_ready(&mut self) -> anyhow::Result<()> {
        for process in self.shards.iter_mut().chain(self.connectors.iter_mut()) {
            if process.is_running() {
                process.ready(&self.net, self.clock).await?;
            }
        }
        Ok(())
    }

    /// Changes how many shards there are, as an operator would.
    pub(crate) async fn scale(&mut self, count: usize) -> anyhow::Result<()> {
        let before = self.shards_now;
        for shard in before..count {
            self.show_to_shard(shard, count)?;
            self.shards[shard].start()?;
        }
        self.all_ready().await?;
        self.show_shards(count)?;
        self.shards_now = count;
        // The lists are read each second.
        self.clock.sleep(Duration::from_secs(3)).await;
        for shard in count..before {
            self.shards[shard].terminate(self.clock).await?;
        }
        Ok(())
    }

    /// The log of a room, as lines of JSON; none, if nobody was ever there.
    pub(crate) fn export(&self, room: &str) -> anyhow::Result<Option<String>> {
        let program = if self.addrs.is_empty() { STANDALONE } else { "chat" };
        export(&self.bin_dir.join(program), &self.store, room)
    }
}

/// The log of a room, as `program` exports it from a store.
pub(crate) fn export(program: &Path, store: &str, room: &str) -> anyhow::Result<Option<String>> {
    let mut export = Command::new(program);
    export.args(["store", "export", room, "--store", store]);
    printed(&mut export, room)
}

/// What an export has printed; none, if nobody was ever there.
pub(crate) fn printed(export: &mut Command, room: &str) -> anyhow::Result<Option<String>> {
    let done = export.output().with_context(|| format!("export {room}"))?;
    let error = String::from_utf8_lossy(&done.stderr);
    if error.contains("there is no room") {
        return Ok(None);
    }
    ensure!(done.status.success(), "export {room}: {error}");
    Ok(Some(String::from_utf8(done.stdout)?))
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Replaces a file by renaming, so that nobody reads half of it.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    Ok(fs::rename(&next, path)?)
}
