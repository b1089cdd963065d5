//! `verify clients`: the clients of `verify run` against a system that somebody else
//! runs, and breaks.

mod told;

use std::{
    fs::File,
    io::BufWriter,
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    process::Command,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::{Context, ensure};
use chassis::{App, Policy, World};
use tokio::sync::watch;
use verify::{Event, Line, check};

use crate::{
    figures::Figures,
    people::{
        self, LAST_QUIET_MIN, Phase, Shared,
        entry::{Entry, Url},
        recorder::Recorder,
    },
    report::{self, note, say},
    run::{repairs, system},
};
use told::Told;

/// How long clients may take until all are in their rooms.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Between two looks at what the caller tells.
const LOOK: Duration = Duration::from_millis(100);
/// What stands for the room in a command.
const EXPORT_WORD: &str = "{room}";

/// Options of `verify clients`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The gate, ws://HOST:PORT or ws://HOST:PORT/PATH; clients go where it sends them
    #[arg(long, value_name = "URL")]
    gate: Url,

    /// Clients; half of them extended sessions
    #[arg(long, value_name = "COUNT", default_value = "300")]
    clients: NonZeroUsize,

    /// Rooms that they are spread over
    #[arg(long, value_name = "COUNT", default_value = "60")]
    rooms: NonZeroUsize,

    /// How long at most, once all are in their rooms. Nothing may be broken in the last
    /// 25 s
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    time: Duration,

    /// How often each client does something, on average
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pace: Duration,

    /// The store, from which the rooms' logs are exported at the end; needs --bin-dir
    #[arg(long, value_name = "URL", requires = "bin_dir", required_unless_present = "export")]
    store: Option<String>,

    /// Where the program chat is, for --store
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,

    /// A shell command that prints what `chat store export ROOM` prints, with {room} for
    /// the room, for example through kubectl exec
    #[arg(long, value_name = "COMMAND", conflicts_with = "store", value_parser = parse_export)]
    export: Option<String>,

    /// Where the caller tells what it breaks: a file that grows, a pipe or /dev/stdin,
    /// with lines of JSON: {"fault":"begin","kind":"…"} once it is broken,
    /// {"fault":"end","kind":"…"} once it is mended, both with "at", in milliseconds
    /// since 1970, if it is told later; {"end":true}: nothing is broken any more, 25 s
    /// later it is over
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,

    /// Admin ports of connectors: when they take rooms to a shard again unasked, for the
    /// machine is busy, that counts as a fault
    #[arg(long, value_name = "ADDRS", value_delimiter = ',')]
    connector_admins: Vec<SocketAddr>,

    /// What the workload is drawn from; default: something new
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// What the rooms' names begin with; default: something new, for rooms in which
    /// others were do not fit the record
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// Where the record goes
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Where the figures go, as JSON
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
}

fn parse_export(raw: &str) -> Result<String, String> {
    match raw.contains(EXPORT_WORD) {
        true => Ok(raw.to_owned()),
        false => Err("has to say {room} somewhere".to_owned()),
    }
}

/// Runs, checks, and says what came out: true if all is well.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    let lines = record(&options).await?;
    if let Some(file) = &options.record {
        let mut out = BufWriter::new(File::create(file)?);
        verify::record::write(&lines, &mut out).context("write the record")?;
    }
    let outcomes = check(&lines);
    let is_well = report::print(&lines, &outcomes);
    let figures = Figures::of(&lines, &outcomes);
    let (clients, rooms) = (options.clients, options.rooms);
    say(format_args!("\nclients     {clients}, half of them extended, in {rooms} rooms"));
    figures.lines().iter().for_each(say);
    if let Some(file) = &options.figures {
        std::fs::write(file, figures.json().to_string()).context("write the figures")?;
    }
    Ok(is_well)
}

async fn record(options: &Options) -> anyhow::Result<Vec<Line>> {
    let world = World::real();
    let seed = options.seed.unwrap_or_else(|| world.rng.u64() % 1_000_000);
    let app = App::detached(world.clone());
    let (clock, recorder) = (world.clock, Recorder::new(world.clock));
    let mut told = Told::open(options.events.as_deref(), clock)?;
    recorder.add(Event::Run { seed, setting: format!("{options:?}"), began_ms: 0 });
    let (phases, phase) = watch::channel(Phase::default());
    let prefix = options.prefix.clone();
    let shared = Arc::new(Shared {
        net: world.net.clone(),
        clock,
        tasks: app.tasks().clone(),
        recorder: recorder.clone(),
        entry: Entry::Gate(options.gate.clone()),
        clients: options.clients.get(),
        rooms: options.rooms.get(),
        prefix: prefix.unwrap_or_else(|| format!("v{:08x}-", world.rng.u64() as u32)),
        pace: options.pace,
        phase,
        arrived: AtomicUsize::new(0),
    });
    people::start(&shared, seed);
    if !options.connector_admins.is_empty() {
        let admins = options.connector_admins.iter().map(|addr| (None, *addr)).collect();
        let repairs = repairs::watch(world.net.clone(), clock, recorder.clone(), admins);
        shared.tasks.spawn("repairs", Policy::Session, repairs);
    }
    let arrived = people::arrived(&shared, ARRIVAL).await;
    let (all, prefix) = (shared.clients, &shared.prefix);
    note(format_args!("{arrived} of {all} clients are in; rooms {prefix}…, seed {seed}"));
    ensure!(arrived > 0, "nobody comes in: is {} a gate?", options.gate);

    let last_quiet = LAST_QUIET_MIN + Duration::from_secs(3);
    let until = clock.now() + options.time.saturating_sub(last_quiet);
    while !told.read()? && clock.now() < until {
        clock.sleep(LOOK).await;
    }
    note(format_args!("{:>5.0} s: quiet from now on", recorder.seconds()));
    people::be_quiet(&shared, &phases, last_quiet).await;
    people::part(&shared, &phases).await;
    note(format_args!("{:>5.0} s: over", recorder.seconds()));
    told.read()?;
    recorder.merge(told.lines(&recorder));
    for room in (0..shared.rooms).map(|room| shared.room(room)) {
        if let Some(text) = export(options, &room)? {
            people::add_log(&recorder, &room, &text)?;
        }
    }
    recorder.add(Event::End);
    Ok(recorder.take())
}

/// What the store has of a room; none, if nobody was ever there.
fn export(options: &Options, room: &str) -> anyhow::Result<Option<String>> {
    match (&options.export, &options.store, &options.bin_dir) {
        (Some(command), ..) => {
            let mut shell = Command::new("sh");
            system::printed(shell.arg("-c").arg(command.replace(EXPORT_WORD, room)), room)
        }
        (_, Some(store), Some(bin_dir)) => system::export(&bin_dir.join("chat"), store, room),
        _ => Ok(None),
    }
}
