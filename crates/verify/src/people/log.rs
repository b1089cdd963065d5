//! A room's log, as `store export` prints it.

use anyhow::Context;
use serde_json::Value;
use verify::Event;

use super::recorder::Recorder;

/// Writes down what the store has of a room.
pub(crate) fn add(recorder: &Recorder, room: &str, text: &str) -> anyhow::Result<()> {
    let mut lines = text.lines();
    let first = lines.next().context("an empty export")?;
    let first: Value = serde_json::from_str(first).context("the head of an export")?;
    let number = |field: &str| first[field].as_u64().unwrap_or_default();
    let epoch: u64 = first["epoch"].as_str().unwrap_or_default().parse().context("epoch")?;
    recorder.add(Event::Log {
        room: room.to_owned(),
        epoch: format!("{epoch:016x}"),
        head: number("head"),
        taken: number("taken"),
    });
    for line in lines {
        let entry = serde_json::from_str(line).context("an entry")?;
        recorder.add(Event::Logged { room: room.to_owned(), entry });
    }
    Ok(())
}
