//! `verify run`: processes, clients, faults, a record.

mod faults;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod repairs;
pub(crate) mod system;

use std::{
    fs::File,
    io::BufWriter,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::Context;
use chassis::{App, Policy, Rng, World};
use clap::ValueEnum;
use tokio::{sync::watch, time::Instant};
use verify::{Event, Line, check};

use crate::{
    people::{
        self, LAST_QUIET_MIN, Phase, Shared,
        entry::{Entry, Url},
        recorder::Recorder,
    },
    report::{self, Demands, note},
};
use faults::{Breaker, Kind};
use system::System;

/// Quiet seconds of a run of 360 s, each time.
const QUIET: f64 = 25.0;
const FULL: f64 = 360.0;

/// What a store says of an entry that no version of the programs wrote.
const DAMAGED: &str = "is damaged";

/// How often each fault comes in such a run, at least.
const TIMES: u32 = 2;
/// How long a planned move may hold a room up, by the contract: 99 of 100 times, and ever.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// Options of `verify run`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where the programs are
    #[arg(long, value_name = "DIR")]
    pub(crate) bin_dir: PathBuf,

    /// Clients; half of them extended sessions
    #[arg(long, value_name = "COUNT", default_value = "300")]
    clients: NonZeroUsize,

    /// Rooms that they are spread over
    #[arg(long, value_name = "COUNT", default_value = "60")]
    rooms: NonZeroUsize,

    /// Connectors
    #[arg(long, value_name = "COUNT", default_value = "3")]
    pub(crate) connectors: NonZeroUsize,

    /// Shards
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = parse_shards)]
    pub(crate) shards: NonZeroUsize,

    /// How long, for example 6m. There are three times without faults: 25 s each of
    /// 6 minutes, and accordingly less; the last has 22 s at least
    #[arg(long, value_name = "TIME", default_value = "6m", value_parser = humantime::parse_duration)]
    time: Duration,

    /// sqlite: one process, standalone, with a file; or the URL of a database; else a
    /// PostgreSQL server is started
    #[arg(long, value_name = "STORE")]
    pub(crate) store: Option<String>,

    /// How often each client does something, on average
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pace: Duration,

    /// Only these faults, separated by commas; default: all that suit
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    faults: Vec<Kind>,

    /// What the workload and the faults are drawn from; default: something new
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Where the record and all logs go; default: a folder that is removed if all is
    /// well
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// A bug that the programs were built to have, for `verify mutants`
    #[arg(long, value_name = "BUG", default_value = "", hide = true)]
    pub(crate) planted: String,

    /// Newest entries of each room that are kept
    #[arg(long, value_name = "COUNT", hide = true)]
    pub(crate) retention_entries: Option<u64>,

    /// How long each fault lasts at least; up to 4 s more are drawn
    #[arg(long, value_name = "TIME", default_value = "1s", hide = true, value_parser = humantime::parse_duration)]
    hold: Duration,

    /// Length of the last time without faults
    #[arg(long, value_name = "TIME", hide = true, value_parser = humantime::parse_duration)]
    last_quiet: Option<Duration>,
}

fn parse_shards(raw: &str) -> Result<NonZeroUsize, String> {
    let parsed = raw.parse::<NonZeroUsize>().ok();
    let parsed = parsed.filter(|count| (2..=system::SHARDS_MAX).contains(&count.get()));
    parsed.ok_or_else(|| format!("must be 2 to {}", system::SHARDS_MAX))
}

impl Options {
    /// A whole run has each fault [`TIMES`] times; and where all that happens is planned,
    /// rooms move within the contract's times.
    fn demands(&self) -> Demands {
        let kinds = if self.time.as_secs_f64() < FULL { Vec::new() } else { self.kinds() };
        let is_planned = self.faults == [Kind::Scale];
        Demands {
            kinds: kinds.iter().map(|kind| kind.name()).collect(),
            times: TIMES,
            pauses: is_planned.then_some(PAUSES),
        }
    }

    /// Faults that there are to be, where something suits them.
    fn kinds(&self) -> Vec<Kind> {
        let all = if self.faults.is_empty() { Kind::value_variants() } else { &self.faults };
        let has_postgres = !self.is_standalone() && self.store.is_none();
        let suits = |kind: &Kind| kind.suits(self.is_standalone(), has_postgres);
        all.iter().copied().filter(suits).collect()
    }

    pub(crate) fn is_standalone(&self) -> bool {
        self.store.as_deref() == Some("sqlite")
    }
}

/// Runs, checks, and says what came out: true if all is well.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    let world = World::real();
    let seed = options.seed.unwrap_or_else(|| world.rng.u64() % 1_000_000);
    let temporary = tempfile::Builder::new().prefix("verify").tempdir()?;
    let folder = options.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    note(format_args!("seed {seed}, folder {}", folder.display()));
    let lines = match record(&options, seed, &folder, &world).await {
        Ok(lines) => lines,
        Err(error) => {
            note(format_args!("logs: {}", temporary.keep().display()));
            return Err(error);
        }
    };
    let file = folder.join("record.jsonl");
    let mut out = BufWriter::new(File::create(&file)?);
    verify::record::write(&lines, &mut out).context("write the record")?;
    let is_kept = report::print(&lines, &check(&lines));
    let is_well = report::figures(&lines, &options.demands()) && is_kept;
    if !is_well {
        if options.folder.is_none() {
            let _ = temporary.keep();
        }
        note(format_args!("seed {seed}; the record: {}", file.display()));
    }
    Ok(is_well)
}

/// Runs as [`run`] does, and gives the record only.
pub(crate) async fn run_for_record(options: &Options) -> anyhow::Result<Vec<Line>> {
    let world = World::real();
    let folder = tempfile::Builder::new().prefix("verify").tempdir()?;
    record(options, options.seed.unwrap_or(1), folder.path(), &world).await
}

async fn record(
    options: &Options,
    seed: u64,
    folder: &Path,
    world: &World,
) -> anyhow::Result<Vec<Line>> {
    let app = App::detached(world.clone());
    let (net, clock, tasks) = (&world.net, world.clock, app.tasks());
    let mut system = System::start(options, folder, net, tasks, clock).await?;
    let recorder = Recorder::new(clock);
    recorder.add(Event::Run { seed, setting: format!("{options:?}"), began_ms: clock.unix_ms() });
    let (phases, phase) = watch::channel(Phase::default());
    let shared = Arc::new(Shared {
        net: net.clone(),
        clock,
        tasks: tasks.clone(),
        recorder: recorder.clone(),
        entry: Entry::Connectors(
            system.clients.iter().map(|proxy| Url::root(&proxy.addr)).collect(),
        ),
        clients: options.clients.get(),
        rooms: options.rooms.get(),
        prefix: String::new(),
        pace: options.pace,
        phase,
        arrived: AtomicUsize::new(0),
    });
    people::start(&shared, seed);
    let admins = system.connectors.iter();
    let admins = admins.map(|connector| (Some(connector.name.clone()), connector.admin)).collect();
    let repairs = repairs::watch(net.clone(), clock, recorder.clone(), admins);
    tasks.spawn("repairs", Policy::Session, repairs);
    let rng = Rng::seeded(seed);
    let mut breaker = Breaker { system: &mut system, recorder: &recorder, rng: &rng };
    let mut plan = Plan::new(options);
    for quiet in plan.quiets {
        plan.break_things(&mut breaker, plan.between).await?;
        if quiet.is_zero() {
            continue;
        }
        note(format_args!("{:>5.0} s: quiet", recorder.seconds()));
        people::be_quiet(&shared, &phases, quiet).await;
    }
    people::part(&shared, &phases).await;
    for room in (0..options.rooms.get()).map(|room| shared.room(room)) {
        match system.export(&room) {
            Err(error) if error.to_string().contains(DAMAGED) => {
                let what = error.to_string().trim_end().to_owned();
                recorder.add(Event::Damaged { room, what });
            }
            exported => {
                if let Some(text) = exported? {
                    people::add_log(&recorder, &room, &text)?;
                }
            }
        }
    }
    recorder.add(Event::End);
    Ok(recorder.take())
}

/// When what is broken.
struct Plan {
    between: Duration,
    quiets: [Duration; 3],
    kinds: Vec<Kind>,
    next: Vec<Kind>,
    /// How long each lasts at least.
    hold: Duration,
}

impl Plan {
    fn new(options: &Options) -> Self {
        let quiet = Duration::from_secs_f64(options.time.as_secs_f64() * QUIET / FULL);
        let quiets = match options.last_quiet {
            Some(last) => [Duration::ZERO, Duration::ZERO, last],
            None => [quiet, quiet, quiet.max(LAST_QUIET_MIN)],
        };
        let busy = options.time.saturating_sub(quiets.iter().sum());
        let (kinds, next, hold) = (options.kinds(), Vec::new(), options.hold);
        Self { between: busy / 3, quiets, kinds, next, hold }
    }

    /// Breaks one thing after the other, for about `time`.
    async fn break_things(
        &mut self,
        breaker: &mut Breaker<'_>,
        time: Duration,
    ) -> anyhow::Result<()> {
        let clock = breaker.system.clock;
        let until: Instant = clock.now() + time;
        clock.sleep(Duration::from_secs(1)).await;
        while clock.now() < until && !self.kinds.is_empty() {
            if self.next.is_empty() {
                self.next.clone_from(&self.kinds);
            }
            // Each kind once, then again, in an order of the seed's.
            let at = breaker.rng.u64() % self.next.len() as u64;
            let kind = self.next.swap_remove(at as usize);
            let time = self.hold + breaker.rng.up_to(Duration::from_secs(4));
            note(format_args!("{:>5.0} s: {}", breaker.recorder.seconds(), kind.name()));
            breaker.fault(kind, time).await?;
            clock.sleep(breaker.rng.up_to(Duration::from_secs(1))).await;
        }
        clock.sleep(until.saturating_duration_since(clock.now())).await;
        Ok(())
    }
}
