//! `verify mutants`: every planted bug is found.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use model::planted::Bug;
use verify::{Event, Line, Outcome, check};

use crate::{
    report::{note, say},
    run::{self, run_for_record},
};

/// Options of `verify mutants`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where the programs are, built with the feature planted
    #[arg(long, value_name = "DIR")]
    bin_dir: PathBuf,

    /// Only these bugs, separated by commas; default: all, and a run without one
    #[arg(long, value_name = "BUGS", value_delimiter = ',')]
    bugs: Vec<String>,

    /// How often a bug is looked for, each time from another seed
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    tries: u64,
}

/// A run that is likely to show a bug: its flags. Without any, everybody talks, and
/// connections are cut.
fn tuned(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::ReplyBeforeStored | Bug::PushBeforeStored => &["--faults", "slow-store,kill-shard"],
        // Whoever comes in a second time stays for long enough.
        Bug::PredecessorStays => {
            &["--pace", "1s", "--faults", "cut-clients", "--time", "60s", "--last-quiet", "54s"]
        }
        // Silence, so that no next message shows the hole.
        Bug::DigestNotCompared => &[
            "--clients",
            "40",
            "--rooms",
            "20",
            "--pace",
            "8s",
            "--faults",
            "cut-peers",
            "--time",
            "52s",
            "--last-quiet",
            "45s",
        ],
        Bug::ResumeForAnybody | Bug::ComingNotTold => {
            &["--faults", "cut-peers", "--time", "46s", "--last-quiet", "30s"]
        }
        Bug::UnknownTakenForAbsent => {
            &["--faults", "lost-answer,terminate-back-ends", "--time", "34s"]
        }
        // What was sent lands when another shard has written: after 3 s the rooms move.
        Bug::ConflictOverwritten => {
            &["--faults", "late-statement,stall-store", "--hold", "4s", "--time", "40s"]
        }
        // Retention walks once a minute; then rooms move, so that only the log knows.
        Bug::CmidsForgotten => {
            &["--faults", "stall-store,split-views", "--time", "100s", "--retention-entries", "5"]
        }
        Bug::RepeatsOutOfOrder => &["--faults", "kill-shard,cut-link,stall-link"],
        _ => &["--faults", "cut-clients,cut-link"],
    }
}

/// Flags of every run, before those of the bug.
const ALL: &[&str] = &[
    "run",
    "--clients",
    "16",
    "--rooms",
    "4",
    "--connectors",
    "2",
    "--shards",
    "2",
    "--pace",
    "300ms",
    "--time",
    "18s",
    "--last-quiet",
    "6s",
];

#[derive(Parser, Debug)]
#[command(args_override_self = true)]
struct Run {
    #[command(flatten)]
    options: run::Options,
}

/// Runs all, and prints the table; true if every bug was found.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    say(format_args!("{:<28}{:<8}{:<24}after", "bug", "breaks", "found by rule"));
    let is_wanted = |name: &str| options.bugs.is_empty() || options.bugs.iter().any(|b| b == name);
    let mut all_found = true;
    if options.bugs.is_empty() {
        let lines = try_one(&options, None, "", 1).await?;
        let broken = broken(&lines);
        all_found = broken.is_empty();
        say(format_args!("{:<28}{:<8}{:<24}", "none", "", rules(&broken)));
    }
    for (bug, name, rule) in Bug::ALL.iter().filter(|(_, name, _)| is_wanted(name)) {
        if let Some((_, why)) = Bug::MASKED.iter().find(|(masked, _)| masked == bug) {
            say(format_args!("{name:<28}{rule:<8}not here: {why}"));
            continue;
        }
        let mut found = None;
        for seed in 1..=options.tries {
            let lines = try_one(&options, Some(*bug), name, seed).await?;
            let broken = broken(&lines);
            if broken.iter().any(|outcome| outcome.rule == *rule) {
                found = Some((rules(&broken), after(&lines, &broken, *rule)));
                break;
            }
            note(format_args!("{name}: not found from seed {seed}, but {}", rules(&broken)));
        }
        match found {
            Some((rules, after)) => {
                say(format_args!("{name:<28}{rule:<8}{rules:<24}{after:.1} s"));
            }
            None => {
                all_found = false;
                say(format_args!("{name:<28}{rule:<8}NOT FOUND"));
            }
        }
    }
    Ok(all_found)
}

async fn try_one(
    options: &Options,
    bug: Option<Bug>,
    name: &str,
    seed: u64,
) -> anyhow::Result<Vec<Line>> {
    let bin_dir = options.bin_dir.to_str().context("--bin-dir is no text")?;
    let seed = seed.to_string();
    let given = ["--bin-dir", bin_dir, "--planted", name, "--seed", &seed];
    let flags = ALL.iter().chain(bug.map_or(&[][..], tuned)).copied().chain(given);
    run_for_record(&Run::try_parse_from(flags)?.options).await
}

fn broken(lines: &[Line]) -> Vec<Outcome> {
    check(lines).into_iter().filter(|outcome| outcome.broken > 0).collect()
}

fn rules(broken: &[Outcome]) -> String {
    let rules: Vec<String> = broken.iter().map(|outcome| outcome.rule.to_string()).collect();
    if rules.is_empty() { "nothing".to_owned() } else { rules.join(" ") }
}

/// When the clients had seen what the excerpt shows, in seconds.
fn after(lines: &[Line], broken: &[Outcome], rule: u8) -> f64 {
    let outcome = broken.iter().find(|outcome| outcome.rule == rule);
    let shown = outcome.and_then(|outcome| outcome.excerpt.as_ref()).map(|shown| &shown.lines);
    let seen = shown.into_iter().flatten().map(|line| &lines[*line]);
    let seen = seen.filter(|line| !matches!(line.event, Event::Log { .. } | Event::Logged { .. }));
    let end = lines.iter().rev().find(|line| matches!(line.event, Event::QuietEnds));
    let at = seen.map(|line| line.at).max().or(end.map(|line| line.at));
    at.unwrap_or(0) as f64 / 1e6
}
