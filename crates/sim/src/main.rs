//! Tries seeds: what chance does to a cluster, and whether a rule is broken.

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Parser;
use sim::{Judged, Plan, chaos, judge};

/// Simulates clusters under faults, and checks every rule of the delivery contract
#[derive(Parser, Debug)]
#[command(version, about)]
struct Options {
    /// How many seeds to try
    #[arg(long, value_name = "COUNT", default_value = "200")]
    seeds: u64,

    /// The first of them
    #[arg(long, value_name = "SEED", default_value = "0")]
    from: u64,

    /// Shows all of one seed instead: its plan, and what happened
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

/// What all seeds came to.
#[derive(Default)]
struct Sum {
    /// Per rule: its number and name, how often it was checked, and broken.
    rules: Vec<(u8, &'static str, u64, u64)>,
    failed: u64,
}

/// Failed seeds that are shown whole.
const SHOWN: u64 = 5;

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.seed {
        return show(&chaos(seed));
    }
    let (next, sum) = (AtomicU64::new(options.from), Mutex::new(Sum::default()));
    let clock = chassis::World::real().clock;
    let began = clock.now();
    let end = options.from.saturating_add(options.seeds);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let judged = judge(&chaos(seed).run());
                    sum.lock().expect("another worker panicked").add(seed, &judged);
                }
            });
        }
    });
    let sum = sum.into_inner().expect("no worker panicked");
    sum.print();
    let took = (clock.now() - began).as_secs_f64();
    let rate = options.seeds as f64 / took;
    let failed = sum.failed;
    say(format_args!("{} seeds, {took:.1} s, {rate:.2} seeds/s", options.seeds));
    say(format_args!("{} passed, {failed} failed", options.seeds - failed));
    if sum.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Sum {
    fn add(&mut self, seed: u64, judged: &Judged) {
        self.rules.resize(judged.rules.len(), (0, "", 0, 0));
        for (sum, rule) in self.rules.iter_mut().zip(&judged.rules) {
            *sum = (rule.rule, rule.name, sum.2 + rule.checked, sum.3 + rule.broken);
        }
        if judged.wrong.is_empty() {
            return;
        }
        self.failed += 1;
        if self.failed <= SHOWN {
            let wrong = judged.wrong.join("\n");
            say(format_args!("seed {seed}:\n{wrong}\nrepeat: make sim SEED={seed}\n"));
        } else {
            say(format_args!("seed {seed} failed, too: {:?}", judged.broken()));
        }
    }

    fn print(&self) {
        say(format_args!("{:>2}  {:<34}{:>10}{:>10}", "", "rule", "checked", "broken"));
        for (rule, name, checked, broken) in &self.rules {
            say(format_args!("{rule:>2}  {name:<34}{checked:>10}{broken:>10}"));
        }
    }

    /// A rule that was never checked is broken.
    fn is_good(&self) -> bool {
        self.failed == 0 && self.rules.iter().all(|(.., checked, _)| *checked > 0)
    }
}

fn show(plan: &Plan) -> ExitCode {
    let outcome = plan.run();
    say(format_args!("{plan:#?}"));
    for line in &outcome.lines {
        say(format_args!("{:>9.3} {:?}", line.at as f64 / 1e6, line.event));
    }
    let judged = judge(&outcome);
    say(judged.wrong.join("\n"));
    if judged.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a line of the result.
#[allow(clippy::print_stdout, reason = "what the tool is for")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
