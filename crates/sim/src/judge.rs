//! What is wrong with a run, for people.

use std::fmt::Write;

use verify::{Outcome as Rule, check};

use crate::{Outcome, check_times};

/// Excerpts of one kind that are worth a look.
const SHOWN: usize = 3;

/// A run, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// How often each rule of the contract was checked, and broken.
    pub rules: Vec<Rule>,
    /// What is wrong, each with the lines that show it.
    pub wrong: Vec<String>,
}

impl Judged {
    /// The numbers of the rules that are broken.
    #[must_use]
    pub fn broken(&self) -> Vec<u8> {
        self.rules.iter().filter(|rule| rule.broken > 0).map(|rule| rule.rule).collect()
    }
}

/// Judges a run by the rules of the contract, and by the times at which entries were
/// stored.
#[must_use]
pub fn judge(outcome: &Outcome) -> Judged {
    let line = |number: usize| {
        let line = &outcome.lines[number];
        format!("\n    {:>9.3} {:?}", line.at as f64 / 1e6, line.event)
    };
    let mut rules = check(&outcome.lines);
    let times = check_times(&outcome.lines, &outcome.journal);
    let mut wrong: Vec<String> = outcome.broken.iter().cloned().collect();
    for rule in &rules {
        if let Some(excerpt) = &rule.excerpt {
            let (number, name, times) = (rule.rule, rule.name, rule.broken);
            let mut text = format!("{number} {name} ({times} times): {}", excerpt.what);
            excerpt.lines.iter().for_each(|number| text.push_str(&line(*number)));
            wrong.push(text);
        }
    }
    for one in times.iter().take(SHOWN) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{} {}: {}", one.rule, one.name, one.what);
        text.push_str(&line(one.line));
        wrong.push(text);
    }
    for one in &times {
        if let Some(rule) = rules.iter_mut().find(|rule| rule.rule == one.rule) {
            rule.broken += 1;
        }
    }
    Judged { rules, wrong }
}
