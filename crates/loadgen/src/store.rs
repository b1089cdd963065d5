//! What an acknowledged message costs in each store: at a shard over links within
//! this process, beside plain inserts of as many rows in as large batches in the same
//! run; and from client to database.

mod batches;
mod end_to_end;
mod pipes;
mod plain;
mod senders;
mod shard;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use chassis::{Clock, Rng};
use postgres_server::PostgresServer;
use store::{Memory, MemoryLimits, Postgres, PostgresOptions, Purpose, Sqlite, Store};
use tokio::time::Instant;

use crate::{print, process::Process};
use batches::Batches;
use plain::Work;
use senders::{Load, Measured};
use shard::Shard;

/// Options of `loadgen bench-store`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where the programs chat and connector are; without it, nothing is measured from
    /// client to database
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,

    /// How long each measurement takes
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    time: Duration,

    /// Measurements of each kind, ours and plain ones in turns
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    rounds: usize,

    /// Stores to measure, separated by commas
    #[arg(
        long,
        value_name = "STORES",
        default_value = "memory,sqlite,postgres",
        value_delimiter = ','
    )]
    stores: Vec<Kind>,

    /// The first of eight ports for the programs that are started
    #[arg(long, value_name = "PORT", default_value_t = 23_150)]
    port: u16,
}

/// A store.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Kind {
    Memory,
    Sqlite,
    Postgres,
}

/// Senders and rooms.
const SHAPES: [(usize, usize); 2] = [(64, 64), (2000, 200)];
/// Bytes of a message's content.
const CONTENT: usize = 150;
/// Messages that are sent before the measurement begins: connections are open,
/// statements prepared, pages there.
const WARM: Duration = Duration::from_secs(1);
/// Between the messages of the one sender of a light load.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs everything and prints tables.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("a folder for the stores")?;
    let needs_postgres = options.stores.contains(&Kind::Postgres) || options.bin_dir.is_some();
    let postgres = needs_postgres
        .then(|| PostgresServer::start(folder.path().join("postgres"), options.port, &[]))
        .transpose()?;
    let bench = Bench { options, folder: folder.path().to_owned(), postgres };
    bench.under_load().await?;
    bench.light().await?;
    if let Some(bin_dir) = &bench.options.bin_dir {
        let postgres = bench.postgres.as_ref().context("no PostgreSQL")?;
        let (time, port) = (bench.options.time, bench.options.port + 1);
        end_to_end::run(bin_dir, time, port, postgres).await?;
    }
    Ok(())
}

struct Bench {
    options: Options,
    folder: PathBuf,
    postgres: Option<PostgresServer>,
}

impl Bench {
    /// Everybody sends again as soon as they were answered.
    async fn under_load(&self) -> anyhow::Result<()> {
        print(
            "| store | senders | rooms | acknowledged/s | rows per batch | p50 / p99 ms | ours µs | database µs | plain insert µs | ratio |",
        );
        print("|---|---|---|---|---|---|---|---|---|---|");
        for kind in &self.options.stores {
            for (senders, rooms) in SHAPES {
                for round in 0..self.options.rounds {
                    let name = format!("{kind:?}-{senders}-{round}").to_lowercase();
                    self.shape(*kind, Load { senders, rooms, pause: None }, &name).await?;
                }
            }
        }
        Ok(())
    }

    async fn shape(&self, kind: Kind, load: Load, name: &str) -> anyhow::Result<()> {
        let (cost, batches) = self.ours(kind, load, name).await?;
        let plain = self.plain(kind, self.work(batches.clone(), load), name).await?;
        // Where the store is of this process, its thread is what compares.
        let compared = if kind == Kind::Postgres { cost.database } else { cost.store };
        let ratio = |plain: f64| compared.map_or("–".to_owned(), |ours| two(ours / plain));
        print(format_args!(
            "| {kind:?} | {} | {} | {:.0} | {:.1} | {:.1} / {:.1} | {:.1} | {} | {} | {} |",
            load.senders,
            load.rooms,
            cost.rate,
            batches.mean(),
            cost.latency.0,
            cost.latency.1,
            cost.ours,
            compared.map_or("–".to_owned(), one),
            plain.map_or("–".to_owned(), |plain| one(plain.cpu_us)),
            plain.map_or("–".to_owned(), |plain| ratio(plain.cpu_us)),
        ));
        Ok(())
    }

    async fn ours(&self, kind: Kind, load: Load, name: &str) -> anyhow::Result<(Cost, Batches)> {
        let (store, batches) = batches::counted(self.open(kind, name).await?);
        let shard = Shard::start(store).await?;
        let mut senders = senders::Senders::enter(&shard.net, load, CONTENT).await?;
        senders.talk(WARM).await?;
        batches.clear();
        let before = self.cpu(kind)?;
        let measured = senders.talk(self.options.time).await?;
        let after = self.cpu(kind)?;
        let cost = Cost::new(&measured, before, after);
        drop(senders);
        shard.stop().await?;
        Ok((cost, batches))
    }

    /// One sender, who thinks before each message: how long an acknowledgement takes
    /// beside a commit of one row.
    async fn light(&self) -> anyhow::Result<()> {
        print(
            "\n| store | acknowledged: p50 / p99 ms | plain commit of a row: p50 / p99 ms | p99 ratio |",
        );
        print("|---|---|---|---|");
        for kind in &self.options.stores {
            let name = format!("{kind:?}-light").to_lowercase();
            let load = Load { senders: 1, rooms: 1, pause: Some(PAUSE) };
            let (cost, _) = self.ours(*kind, load, &name).await?;
            let work = self.work(Batches::of_one(), load);
            let Some(plain) = self.plain(*kind, work, &name).await? else {
                print(format_args!(
                    "| {kind:?} | {:.2} / {:.2} | – | – |",
                    cost.latency.0, cost.latency.1
                ));
                continue;
            };
            print(format_args!(
                "| {kind:?} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} |",
                cost.latency.0,
                cost.latency.1,
                plain.latency.0,
                plain.latency.1,
                cost.latency.1 / plain.latency.1,
            ));
        }
        Ok(())
    }

    async fn plain(
        &self,
        kind: Kind,
        work: Work,
        name: &str,
    ) -> anyhow::Result<Option<plain::Cost>> {
        let cost = match kind {
            Kind::Memory => return Ok(None),
            Kind::Sqlite => {
                let path = self.folder.join(format!("{name}-plain.db"));
                tokio::task::spawn_blocking(move || plain::sqlite(&path, &work)).await??
            }
            Kind::Postgres => {
                let postgres = self.postgres.as_ref().context("no PostgreSQL")?;
                plain::postgres(postgres, &work).await?
            }
        };
        Ok(Some(cost))
    }

    fn work(&self, batches: Batches, load: Load) -> Work {
        let time = self.options.time;
        Work { batches, rooms: load.rooms, content: CONTENT, time, pause: load.pause }
    }

    async fn open(&self, kind: Kind, name: &str) -> anyhow::Result<Arc<dyn Store>> {
        let (clock, rng) = (Clock::real(), Rng::real());
        let (unix_ms, random) = (move || clock.unix_ms(), move || rng.u64());
        let limits = MemoryLimits { entries_max: 1000 };
        Ok(match kind {
            Kind::Memory => Arc::new(Memory::new(limits, unix_ms, random)),
            Kind::Sqlite => {
                let path = self.folder.join(format!("{name}.db"));
                Arc::new(Sqlite::open(path, Purpose::Serve, unix_ms, random)?)
            }
            Kind::Postgres => {
                let postgres = self.postgres.as_ref().context("no PostgreSQL")?;
                // Each measurement begins on empty tables.
                postgres.sql(
                    "chat",
                    "drop table if exists shaddock_entry, shaddock_room, shaddock_schema",
                )?;
                let options =
                    PostgresOptions { url: postgres.url(), password: None, ca_file: None };
                Arc::new(Postgres::open(&options, Purpose::Serve, random).await?)
            }
        })
    }

    fn cpu(&self, kind: Kind) -> anyhow::Result<Cpu> {
        let database = match (&self.postgres, kind) {
            (Some(postgres), Kind::Postgres) => Some(postgres_cpu(postgres)?),
            _ => None,
        };
        let this = Process::this();
        Ok(Cpu {
            at: Clock::real().now(),
            shard: this.cpu_of_threads(|name| !is_client(name))?,
            store: (kind == Kind::Sqlite)
                .then(|| this.cpu_of_threads(|name| name.starts_with("store")))
                .transpose()?,
            database,
        })
    }
}

/// The main thread runs the clients, and is called like the program.
fn is_client(thread: &str) -> bool {
    thread == "loadgen"
}

/// Processor time of a server and its back ends.
pub(super) fn postgres_cpu(postgres: &PostgresServer) -> anyhow::Result<Duration> {
    let processes = postgres.processes()?;
    let each = processes.into_iter().filter_map(|process| Process::of(process).cpu().ok());
    Ok(each.sum())
}

/// Processor time until now.
#[derive(Clone, Copy, Debug)]
struct Cpu {
    at: Instant,
    /// This process without the clients.
    shard: Duration,
    /// The store's own threads, if it has any.
    store: Option<Duration>,
    database: Option<Duration>,
}

/// Per acknowledged message.
struct Cost {
    rate: f64,
    /// µs of the shard, with the store as far as it is in the same process.
    ours: f64,
    /// µs of the store's own threads.
    store: Option<f64>,
    /// µs of the database.
    database: Option<f64>,
    /// Milliseconds until the acknowledgement: median, 99th percentile.
    latency: (f64, f64),
}

impl Cost {
    fn new(measured: &Measured, before: Cpu, after: Cpu) -> Self {
        let count = measured.latencies.len() as f64;
        let us = |before: Duration, after: Duration| (after - before).as_secs_f64() * 1e6 / count;
        let both = |before: Option<Duration>, after: Option<Duration>| Some(us(before?, after?));
        Self {
            rate: count / (after.at - before.at).as_secs_f64(),
            ours: us(before.shard, after.shard),
            store: both(before.store, after.store),
            database: both(before.database, after.database),
            latency: percentiles(measured.latencies.clone()),
        }
    }
}

/// The median and the 99th percentile, in milliseconds.
fn percentiles(mut latencies: Vec<Duration>) -> (f64, f64) {
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    };
    (at(50), at(99))
}

fn one(figure: f64) -> String {
    format!("{figure:.1}")
}

fn two(figure: f64) -> String {
    format!("{figure:.2}")
}

/// Makes sure that what is compared was done.
pub(super) fn expect_some(count: usize) -> anyhow::Result<()> {
    ensure!(count > 0, "nothing was done in time");
    Ok(())
}

/// As spread as random numbers are, each number once: the finalizer of splitmix64.
pub(super) fn scramble(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
