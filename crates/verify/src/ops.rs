//! `verify ops`: the acceptance tests of operations, on real processes and a fake API
//! server, while clients chat.
//!
//! ```text
//! fake API server ◀─ gate ◀── connectors ◀──▶ shards ──▶ PostgreSQL
//!   (one for each)     ▲           ▲     proxies      proxies
//!                      └─ clients ─┘ proxies
//! ```

mod api;
mod cluster;
mod crashes;
mod crowd;
mod limits;
mod parts;
mod play;
mod probes;
mod scaling;
mod view;

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use chassis::World;
use tempfile::TempDir;

use crate::{
    report::{note, say},
    run::process::Process,
};
use cluster::{Cluster, Size};
use play::Report;

/// All tests: number, what is done, and whether it is quick.
const TESTS: &[(u8, &str, bool)] = &[
    (3, "health and reflection, also in a drain", true),
    (6, "chat shards 3, 4, 3", false),
    (7, "rolling restart of 5 chat shards", false),
    (9, "SIGKILL of a chat shard", true),
    (10, "a chat shard in a black hole", false),
    (11, "SIGSTOP of a chat shard for 30 s", false),
    (12, "API server away, a chat shard crashes", false),
    (13, "half-open watch of a connector, chat 3 to 4", false),
    (14, "API server says 410, 403, 429, 500, nothing", true),
    (15, "three connectors with three views for 20 s", false),
    (16, "a connector and a shard cut off", false),
    (17, "PostgreSQL restarts, then stalls for 5 s", false),
    (18, "all connections end, all clients return", false),
    (19, "1 % of the clients stop reading", false),
    (23, "1024 descriptors, and a full connector", true),
];

/// To find an owner again, and then to answer.
const QUICK_LIMIT_MS: u64 = 15_000;

/// Options of `verify ops`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where the programs are
    #[arg(long, value_name = "DIR")]
    bin_dir: PathBuf,

    /// Only these tests, by number, separated by commas; default: all
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    tests: Vec<u8>,

    /// Only those that are quick, with few clients and a short end
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// As long and with as many clients as asked for: the API server is away for 10
    /// minutes, a partition lasts 60 s, 5000 clients return
    #[arg(long)]
    full: bool,

    /// Clients that return at once, in test 18
    #[arg(long, value_name = "COUNT")]
    clients: Option<usize>,

    /// What the clients' workload is drawn from; default: something new
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Where all logs go; default: a folder that is removed if all is well
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What all tests are played with.
#[derive(Debug)]
pub(crate) struct Lab {
    bin_dir: PathBuf,
    folder: PathBuf,
    pub(crate) seed: u64,
    pub(crate) is_quick: bool,
    pub(crate) is_full: bool,
    pub(crate) clients: Option<usize>,
}

impl Lab {
    async fn cluster(&self, test: u8, size: Size) -> anyhow::Result<Cluster> {
        let folder = self.folder.join(test.to_string());
        Cluster::start(self.bin_dir.clone(), folder, size).await
    }

    /// How long clients are left alone in the end. Rosters are compared after 20 s.
    fn quiet(&self) -> Duration {
        Duration::from_secs(if self.is_quick { 6 } else { 22 })
    }

    /// A limit in milliseconds. In `make test` nothing depends on how fast the machine is:
    /// there it is what the contract's rules allow.
    fn limit_ms(&self, ms: u64) -> u64 {
        if self.is_quick { QUICK_LIMIT_MS } else { play::limit_ms(ms) }
    }

    /// Stands for a process that somebody else has.
    fn nobody(&self) -> Process {
        let addr = ([127, 0, 0, 1], 0).into();
        Process::new("nobody", PathBuf::new(), Vec::new(), addr, self.folder.join("nobody"))
    }

    async fn play(&self, test: u8) -> anyhow::Result<Report> {
        match test {
            3 => limits::grpc_answers(self).await,
            6 => scaling::grow_and_shrink(self).await,
            7 => scaling::roll_shards(self).await,
            9 => crashes::kill_shard(self).await,
            10 => crashes::black_hole(self).await,
            11 => crashes::freeze_shard(self).await,
            12 => api::api_away(self).await,
            13 => api::half_open(self).await,
            14 => api::errors(self).await,
            15 => parts::split_views(self).await,
            16 => parts::partition(self).await,
            17 => parts::store_away(self).await,
            18 => crowd::mass_return(self).await,
            19 => crowd::slow_readers(self).await,
            _ => limits::full_house(self).await,
        }
    }
}

/// Plays them one after the other, and prints the table; true if all have passed.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    // Each client is a descriptor here, and two in the proxy that it goes through.
    chassis::raise_descriptor_limit();
    for number in &options.tests {
        let numbers: Vec<_> = TESTS.iter().map(|(number, ..)| number.to_string()).collect();
        let is_known = numbers.contains(&number.to_string());
        ensure!(is_known, "there is no test {number}; there are {}", numbers.join(" "));
    }
    let world = World::real();
    let temporary = tempfile::Builder::new().prefix("verify-ops").tempdir()?;
    let folder = options.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    open_to_all(&temporary)?;
    let lab = Lab {
        bin_dir: options.bin_dir,
        folder,
        seed: options.seed.unwrap_or_else(|| world.rng.u64() % 1_000_000),
        is_quick: options.quick,
        is_full: options.full,
        clients: options.clients,
    };
    note(format_args!("seed {}, folder {}", lab.seed, lab.folder.display()));
    let is_wanted = |number: u8, is_quick: bool| match options.tests.is_empty() {
        true => is_quick || !options.quick,
        false => options.tests.contains(&number),
    };
    let (mut passed, mut failed) = (0, 0);
    for (number, what, _) in TESTS.iter().filter(|(number, _, quick)| is_wanted(*number, *quick)) {
        note(format_args!("{number}: {what} …"));
        let began = world.clock.now();
        let report = lab.play(*number).await.unwrap_or_else(|error| {
            let failures = vec![chassis::chain(error.as_ref())];
            Report { failures, ..Report::default() }
        });
        let seconds = (world.clock.now() - began).as_secs();
        let is_passed = report.failures.is_empty();
        let verdict = if is_passed { "passed" } else { "FAILED" };
        *(if is_passed { &mut passed } else { &mut failed }) += 1;
        say(format_args!("{number:>3}  {what:<48}{verdict} {seconds:>5} s"));
        report.figures.iter().for_each(|figure| say(format_args!("       {figure}")));
        report.failures.iter().for_each(|failure| say(format_args!("     ! {failure}")));
    }
    say(format_args!("\n{passed} passed, {failed} failed"));
    if failed > 0 {
        note(format_args!("seed {}; logs: {}", lab.seed, lab.folder.display()));
        let _ = temporary.keep();
    }
    Ok(failed == 0)
}

/// PostgreSQL is started as somebody else if we are root.
fn open_to_all(folder: &TempDir) -> anyhow::Result<()> {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};
    Ok(std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?)
}
