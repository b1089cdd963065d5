//! The table, for people. Pure.

use std::time::{Duration, UNIX_EPOCH};

use crate::ask::{Answer, Row, Tier};

/// Heads of the columns that are text.
const TEXTS: [&str; 8] = ["tier", "id", "address", "version", "up", "clock", "skew", "state"];

/// Heads of the columns that are counts, each with the name of the count.
const COUNTS: [(&str, &str); 6] = [
    ("sessions", "sessions"),
    ("rooms", "rooms"),
    ("members", "members"),
    ("links", "links"),
    ("pushes", "pushes"),
    ("closes", "outbox_closes"),
];

/// Columns that somebody has who gives no answer: who it is, and where.
const KNOWN: usize = 3;

/// A line: cells, or fewer cells and what stands in place of the others.
struct Line {
    cells: Vec<String>,
    instead: String,
}

/// The name that a process has, by itself or else by the list.
pub(crate) fn name(row: &Row) -> &str {
    match &row.answer {
        Ok(answer) if !answer.process.id.is_empty() => &answer.process.id,
        _ => &row.target.id,
    }
}

/// One line for each process, and one with sums for each tier that has several.
pub(crate) fn text(rows: &[Row]) -> String {
    let heads = TEXTS.into_iter().chain(COUNTS.map(|(head, _)| head)).map(str::to_owned);
    let mut lines = vec![Line { cells: heads.collect(), instead: String::new() }];
    for tier in Tier::ALL {
        let of_tier: Vec<&Row> = rows.iter().filter(|row| row.target.tier == tier).collect();
        lines.extend(of_tier.iter().map(|row| line(row)));
        if of_tier.len() > 1 {
            lines.push(sums(tier, &of_tier));
        }
    }
    render(&lines)
}

fn line(row: &Row) -> Line {
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text) };
    let mut cells =
        vec![row.target.tier.name().to_owned(), or_none(name(row)), printable(&row.target.addr)];
    match &row.answer {
        Err(why) => return Line { cells, instead: printable(why) },
        Ok(answer) => {
            let process = &answer.process;
            let state = if process.draining { "draining" } else { "serving" };
            cells.extend([
                or_none(&process.version),
                uptime(process.uptime_ms),
                time_of_day(process.now_ms),
                skew(answer.skew_ms),
                state.to_owned(),
            ]);
            let cell = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |n| n.to_string());
            cells.extend(COUNTS.map(|(_, name)| cell(count(answer, name))));
        }
    }
    Line { cells, instead: String::new() }
}

/// What all of one tier have together. Of the connectors' rooms there is no sum: one
/// room may be at several, and the shards tell.
fn sums(tier: Tier, rows: &[&Row]) -> Line {
    let answers: Vec<&Answer> = rows.iter().filter_map(|row| row.answer.as_ref().ok()).collect();
    let mut cells = vec![tier.name().to_owned(), "all".to_owned()];
    cells.push(format!("{} of {}", answers.len(), rows.len()));
    cells.resize(TEXTS.len(), String::new());
    for (_, name) in COUNTS {
        let counts: Vec<u64> = answers.iter().filter_map(|answer| count(answer, name)).collect();
        let has_sum = !counts.is_empty() && (tier, name) != (Tier::Connector, "rooms");
        let sum = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        cells.push(if has_sum { sum.to_string() } else { "-".to_owned() });
    }
    Line { cells, instead: String::new() }
}

fn count(answer: &Answer, name: &str) -> Option<u64> {
    answer.counts.iter().find(|(is, _)| *is == name).map(|(_, count)| *count)
}

/// Columns as wide as what is in them: texts to the left, counts to the right.
fn render(lines: &[Line]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..TEXTS.len() + COUNTS.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.cells.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column < TEXTS.len() {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        let mut whole = cells.collect::<Vec<_>>().join("  ");
        debug_assert!(line.instead.is_empty() || line.cells.len() == KNOWN);
        if !line.instead.is_empty() {
            whole = format!("{whole}  {}", line.instead);
        }
        text.push_str(whole.trim_end());
        text.push('\n');
    }
    text
}

/// What others say must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// The two biggest units, for example `3h 12m`.
fn uptime(ms: u64) -> String {
    let whole = humantime::format_duration(Duration::from_secs(ms / 1000)).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `12:34:56`, UTC; `?` for a time that no calendar has.
fn time_of_day(unix_ms: u64) -> String {
    // The last second of the year 9999, the last that can be written.
    const LAST: u64 = 253_402_300_799;
    let seconds = unix_ms / 1000;
    if seconds > LAST {
        return "?".to_owned();
    }
    let written = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
    written.to_string()[11..19].to_owned()
}

fn skew(ms: i64) -> String {
    match ms.unsigned_abs() {
        0..10_000 => format!("{ms:+}ms"),
        _ => format!("{:+}s", ms / 1000),
    }
}

#[cfg(test)]
mod tests;
