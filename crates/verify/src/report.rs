//! What people get to read.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use verify::{Event, Line, Outcome, record::SCALE};

use crate::figures::{Figures, percentile, spread};

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

/// What a run must have had, beyond that no rule is broken.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    /// Kinds of faults, and how often each.
    pub(crate) kinds: Vec<String>,
    pub(crate) times: u32,
    /// How long rooms may stand still while shards come and go: 99 of 100 times, and
    /// ever.
    pub(crate) pauses: Option<[Duration; 2]>,
}

/// Prints what happened how often, and how long rooms stood still while shards came
/// and went; true if that is what was demanded.
pub(crate) fn figures(lines: &[Line], demands: &Demands) -> bool {
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
    let counts: Vec<_> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    say(format_args!("faults: {}", counts.join(", ")));
    let (answers, pauses) = scaling(lines);
    if !answers.is_empty() {
        say(format_args!("while shards came and went: answers took {}", spread(&answers)));
        say(format_args!("  rooms stood still for {}, each change", spread(&pauses)));
    }
    let shortfalls = demands.shortfalls(&faults, &pauses);
    shortfalls.iter().for_each(|shortfall| say(format_args!("NOT ENOUGH: {shortfall}")));
    shortfalls.is_empty()
}

impl Demands {
    fn shortfalls(&self, faults: &BTreeMap<&str, u32>, pauses: &[u64]) -> Vec<String> {
        let times = |kind: &String| faults.get(kind.as_str()).copied().unwrap_or_default();
        let rare = self.kinds.iter().filter(|kind| times(kind) < self.times);
        let rare = rare.map(|kind| format!("{kind} came {} times", times(kind)));
        let bounds = self.pauses.iter().flat_map(|[most, all]| [(99, most), (100, all)]);
        let long = bounds.filter_map(|(percent, bound)| {
            let pause = Duration::from_micros(percentile(pauses, percent));
            let is_long = pauses.is_empty() || pause > *bound;
            is_long.then(|| format!("rooms stood still for {pause:?} at p{percent}, not {bound:?}"))
        });
        rare.chain(long).collect()
    }
}

/// How long answers took while shards came and went, and how long each room answered
/// nobody at most, each time. In microseconds, sorted.
fn scaling(lines: &[Line]) -> (Vec<u64>, Vec<u64>) {
    let (mut begun, mut answers, mut pauses) = (HashMap::new(), Vec::new(), Vec::new());
    for line in lines {
        match &line.event {
            Event::FaultBegins { fault, kind, .. } if kind == SCALE => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_too_rarely_or_took_too_long_is_not_enough() {
        let ms = Duration::from_millis;
        let kinds = vec!["kill".to_owned(), SCALE.to_owned()];
        let demands = Demands { kinds, times: 2, pauses: Some([ms(1), ms(2)]) };
        let check = |scales, longest: &[u64], shortfalls| {
            let faults = BTreeMap::from([("kill", 2), (SCALE, scales)]);
            let pauses: Vec<_> = [1000; 200].iter().chain(longest).copied().collect();
            assert_eq!(demands.shortfalls(&faults, &pauses).len(), shortfalls, "{longest:?}");
        };
        check(2, &[2000], 0);
        check(1, &[2000], 1);
        check(2, &[2001], 1);
        check(2, &[2000; 9], 1);
        assert_eq!(demands.shortfalls(&BTreeMap::new(), &[]).len(), 4);
        assert!(Demands::default().shortfalls(&BTreeMap::new(), &[]).is_empty());
    }
}
