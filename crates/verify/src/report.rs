//! What people get to read.

use std::collections::{BTreeMap, HashMap};

use verify::{Event, Line, Outcome};

use crate::figures::{Figures, spread};

/// Characters of a line that an excerpt shows.
const SHOWN: usize = 400;

/// Prints what came out when a record was checked; true if every rule was checked and
/// kept.
pub(crate) fn print(lines: &[Line], outcomes: &[Outcome]) -> bool {
    say(format_args!("{:>2}  {:<34}{:>10}{:>10}", "", "rule", "checked", "broken"));
    for outcome in outcomes {
        say(outcome);
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_kept()) {
        explain(outcome, lines);
    }
    let kept = outcomes.iter().all(Outcome::is_kept);
    let ended = matches!(lines.last(), Some(Line { event: Event::End, .. }));
    if !ended {
        say("\nthe record has no end");
    }
    say(format_args!(
        "\n{} lines, {}",
        lines.len(),
        if kept { "no rule broken" } else { "BROKEN" }
    ));
    kept && ended
}

/// Prints what happened how often, and how long rooms stood still while shards came
/// and went.
pub(crate) fn figures(lines: &[Line]) {
    let mut faults: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut sends, mut acks, mut pushes) = (0, 0, 0);
    for line in lines {
        match &line.event {
            Event::FaultBegins { kind, .. } => *faults.entry(kind).or_default() += 1,
            Event::Send { .. } => sends += 1,
            Event::Sent { code: 200, .. } => acks += 1,
            Event::Pushed { .. } => pushes += 1,
            _ => {}
        }
    }
    say(format_args!("{sends} messages sent, {acks} acknowledged, {pushes} pushed"));
    let faults: Vec<_> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    say(format_args!("faults: {}", faults.join(", ")));
    let (answers, pauses) = scaling(lines);
    if !answers.is_empty() {
        say(format_args!("while shards came and went: answers took {}", spread(&answers)));
        say(format_args!("  rooms stood still for {}, each change", spread(&pauses)));
    }
}

/// How long answers took while shards came and went, and how long each room answered
/// nobody at most, each time. In microseconds, sorted.
fn scaling(lines: &[Line]) -> (Vec<u64>, Vec<u64>) {
    let (mut begun, mut answers, mut pauses) = (HashMap::new(), Vec::new(), Vec::new());
    for line in lines {
        match &line.event {
            Event::FaultBegins { fault, kind, .. } if kind == "scale" => {
                begun.insert(*fault, line.at);
            }
            Event::FaultEnds { fault } => {
                let Some(from) = begun.remove(fault) else { continue };
                let figures = Figures::between(lines, from, line.at);
                answers.extend(figures.answers);
                pauses.extend(figures.pauses);
            }
            _ => {}
        }
    }
    answers.sort_unstable();
    pauses.sort_unstable();
    (answers, pauses)
}

fn explain(outcome: &Outcome, lines: &[Line]) {
    let Some(excerpt) = &outcome.excerpt else {
        return say(format_args!("\nrule {} was never checked", outcome.rule));
    };
    say(format_args!("\nrule {}, {}: {}", outcome.rule, outcome.name, excerpt.what));
    for number in &excerpt.lines {
        let line = serde_json::to_string(&lines[*number]).unwrap_or_default();
        let shown: String = line.chars().take(SHOWN).collect();
        say(format_args!("  {:>8} {shown}", number + 1));
    }
}

/// Prints a line of the result.
#[allow(clippy::print_stdout, reason = "what the tool is for")]
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("{line}");
}

/// Says what went wrong, or how far it is.
#[allow(clippy::print_stderr, reason = "the last word of a tool")]
pub(crate) fn note(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

pub(crate) fn complain(error: &anyhow::Error) {
    note(format_args!("verify: {}", chassis::chain(error.as_ref())));
}
