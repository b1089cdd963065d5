//! What people get to read.

use verify::{Event, Line, Outcome, check};

/// Characters of a line that an excerpt shows.
const SHOWN: usize = 400;

/// Checks a record and prints the table; true if every rule was checked and kept.
pub(crate) fn print(lines: &[Line]) -> bool {
    let outcomes = check(lines);
    say(format_args!("{:>2}  {:<34}{:>10}{:>10}", "", "rule", "checked", "broken"));
    for outcome in &outcomes {
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
