//! Whatever chance does to a cluster whose shards share a log, no rule is broken.

use sim::{Outcome, chaos, check_times};

use crate::seeds;

/// What is wrong with a run, and the lines that show it.
pub(crate) fn wrong(outcome: &Outcome) -> Vec<String> {
    let line = |number: &usize| {
        let line = &outcome.lines[*number];
        format!("    {:>9.3} {:?}", line.at as f64 / 1e6, line.event)
    };
    let mut wrong: Vec<String> = outcome.broken.iter().cloned().collect();
    for rule in verify::check(&outcome.lines).iter().filter(|rule| rule.broken > 0) {
        let excerpt = rule.excerpt.as_ref().unwrap();
        let shown: Vec<String> = excerpt.lines.iter().map(line).collect();
        wrong.push(format!("{} {} (times {}): {}\n{}", rule.rule, rule.name, rule.broken, excerpt.what, shown.join("\n")));
    }
    for one in check_times(&outcome.lines, &outcome.journal).iter().take(3) {
        wrong.push(format!("{}: {}\n{}", one.rule, one.what, line(&one.line)));
    }
    wrong
}

#[test]
fn whatever_happens_nothing_is_lost_doubled_or_reordered() {
    for seed in seeds(4) {
        let plan = chaos(seed);
        let started = std::time::Instant::now();
        let outcome = plan.run();
        let ran = started.elapsed();
        let wrong = wrong(&outcome);
        eprintln!("seed {seed}: {} lines, {:?} virtual, ran {ran:?}, checked {:?}, {} wrong", outcome.lines.len(), plan.length, started.elapsed() - ran, wrong.len());
        if std::env::var("SEED").is_ok() {
            eprintln!("{plan:#?}");
            for line in &outcome.lines { eprintln!("{:>9.3} {:?}", line.at as f64 / 1e6, line.event); }
        }
        if !wrong.is_empty() {
            eprintln!("{}", wrong.join("\n"));
        }
    }
}
