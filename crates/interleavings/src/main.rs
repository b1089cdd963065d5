//! Tries every order, and prints how many states there are; then takes one guard after
//! the other out, and prints what is broken.

use std::{fmt, io::Write, num::NonZeroUsize, process::ExitCode, time::Instant};

use clap::Parser;
use interleavings::{Found, Guard, Scenario, explore};

/// Tries every order in which two shards, two connectors and a store can do things for one
/// room, and checks the rules of the delivery contract in every state
///
/// First come scenarios, each with its bounds: who says what, and how often something may
/// happen. Then come the guards: each has a scenario of its own, in which no rule is broken
/// with it, and in which the shortest way to a broken rule without it is shown. Ends with 1
/// if a rule is broken with all guards, if in some scenario nobody ever gets through, or if
/// nothing is broken without some guard.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Options {
    /// Tries only scenarios and guards whose name has this in it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    only: String,

    /// How many threads search [default: one for each processor]
    #[arg(long, value_name = "COUNT", default_value_t = processors(), hide_default_value = true)]
    threads: NonZeroUsize,
}

fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// What all searches came to.
#[derive(Default)]
struct Sum {
    tried: usize,
    states: usize,
    transitions: usize,
    violations: usize,
    /// Scenarios in which nobody gets through: they show nothing.
    stuck: usize,
    /// Guards without which no rule is broken.
    useless: usize,
}

fn main() -> ExitCode {
    let Options { only, threads } = Options::parse();
    let (threads, mut sum) = (threads.get(), Sum::default());
    for scenario in Scenario::all().into_iter().filter(|it| it.name.contains(&only)) {
        say(format_args!("{}\n  {scenario}", scenario.name));
        sum.add(&scenario, threads);
    }
    for guard in Guard::ALL.into_iter().filter(|guard| guard.what().contains(&only)) {
        let scenario = Scenario::that_needs(guard);
        say(format_args!("\nguard: {}\n  {scenario}", guard.what()));
        sum.add(&scenario, threads);
        // One thread visits the nearest states first.
        let found = explore(scenario, Some(guard), 1);
        if found.broken.is_none() {
            say(format_args!("  without it: no rule is broken in {} states", found.states));
            sum.useless += 1;
        }
        show("without it", &found);
    }
    say(format_args!("\n{sum}"));
    if sum.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Sum {
    /// Explores a scenario with all guards.
    #[allow(clippy::disallowed_methods, reason = "only to say how long it took")]
    fn add(&mut self, scenario: &Scenario, threads: usize) {
        let began = Instant::now();
        let found = explore(*scenario, None, threads);
        let seconds = began.elapsed().as_secs_f64();
        let Found { states, transitions, depth, succeeds, .. } = found;
        let violations = usize::from(found.broken.is_some());
        say(format_args!(
            "  {states} states, {transitions} transitions, {depth} steps deep, {seconds:.1} s, \
             {violations} violations",
        ));
        show("with all guards", &found);
        if !succeeds {
            say("  nowhere is everything said and acknowledged: this shows nothing");
        }
        self.tried += 1;
        self.states += states;
        self.transitions += transitions;
        self.violations += violations;
        self.stuck += usize::from(!succeeds);
    }

    /// Nothing that was tried is nothing shown.
    fn is_good(&self) -> bool {
        self.tried > 0 && self.violations + self.stuck + self.useless == 0
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tried, states, transitions, violations, stuck, useless } = self;
        write!(
            f,
            "{tried} scenarios, {states} states, {transitions} transitions: {violations} \
             violations, {stuck} where nobody gets through, {useless} guards that guard nothing",
        )
    }
}

/// Prints how a rule comes to be broken.
fn show(when: &str, found: &Found) {
    let Some(broken) = &found.broken else { return };
    say(format_args!("  {when}, {broken}"));
    for (number, step) in broken.steps.iter().enumerate() {
        say(format_args!("    {:2}. {step}", number + 1));
    }
}

/// Prints a line of the result, for whoever still reads it.
fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
