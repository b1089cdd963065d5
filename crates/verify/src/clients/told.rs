//! What the caller says that it breaks.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, bail, ensure};
use chassis::Clock;
use serde::Deserialize;
use verify::{Event, Line};

use crate::{people::recorder::Recorder, report::note};

/// Faults that may be told of; beyond that the caller is at fault.
const FAULTS_MAX: usize = 100_000;
/// The longest line.
const LINE_MAX: usize = 64 * 1024;

/// Reads what the caller tells, as it comes.
#[derive(Debug)]
pub(crate) struct Told {
    file: Option<File>,
    clock: Clock,
    /// What is not a whole line yet.
    rest: Vec<u8>,
    /// In milliseconds since 1970.
    faults: Vec<(u64, Fault)>,
    is_end: bool,
}

/// One line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    at: Option<u64>,
    #[serde(default)]
    fault: Option<Edge>,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    what: String,
    /// Nothing can be stored meanwhile.
    #[serde(default)]
    store_stopped: bool,
    #[serde(default)]
    end: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Edge {
    Begin,
    End,
}

#[derive(Debug)]
struct Fault {
    edge: Edge,
    kind: String,
    what: String,
    store_stopped: bool,
}

impl Told {
    pub(crate) fn open(path: Option<&Path>, clock: Clock) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            // A pipe that nobody writes to must not hold the clients up.
            let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
            opened.with_context(|| format!("--events {}", path.display()))
        };
        let file = path.map(open).transpose()?;
        Ok(Self { file, clock, rest: Vec::new(), faults: Vec::new(), is_end: false })
    }

    /// Reads what has come; true if it says that it was all.
    pub(crate) fn read(&mut self) -> anyhow::Result<bool> {
        let mut chunk = [0; 4096];
        while let Some(file) = &mut self.file {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(len) => self.rest.extend(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => bail!("--events: {error}"),
            }
            self.take_lines()?;
            ensure!(self.rest.len() <= LINE_MAX, "--events: a line of more than {LINE_MAX} bytes");
        }
        Ok(self.is_end)
    }

    fn take_lines(&mut self) -> anyhow::Result<()> {
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if line.trim_ascii().is_empty() {
                continue;
            }
            let said: Said = serde_json::from_slice(&line)
                .with_context(|| format!("--events: {}", String::from_utf8_lossy(&line).trim()))?;
            self.is_end |= said.end;
            let Said { at, fault, kind, what, store_stopped, .. } = said;
            let Some(edge) = fault else { continue };
            ensure!(!kind.is_empty(), "--events: a fault without a kind");
            ensure!(self.faults.len() < FAULTS_MAX, "--events: more than {FAULTS_MAX} faults");
            note(format_args!("{kind}: {edge:?} {what}"));
            let at = at.unwrap_or_else(|| self.clock.unix_ms());
            self.faults.push((at, Fault { edge, kind, what, store_stopped }));
        }
        Ok(())
    }

    /// All that was told, as lines of the record.
    pub(crate) fn lines(self, recorder: &Recorder) -> Vec<Line> {
        let begin = self.clock.unix_ms() as f64 - recorder.seconds() * 1e3;
        let (mut open, mut lines) = (Vec::<(String, u32)>::new(), Vec::new());
        let mut faults = self.faults;
        faults.sort_by_key(|(at, _)| *at);
        for (at, Fault { edge, kind, what, store_stopped }) in faults {
            let event = match edge {
                Edge::Begin => {
                    let fault = recorder.next_fault();
                    open.push((kind.clone(), fault));
                    Event::FaultBegins { fault, kind, what, store_stopped, touches: None }
                }
                Edge::End => {
                    let Some(of) = open.iter().position(|(begun, _)| *begun == kind) else {
                        continue;
                    };
                    Event::FaultEnds { fault: open.remove(of).1 }
                }
            };
            let at = ((at as f64 - begin) * 1e3).max(0.0) as u64;
            lines.push(Line { at, event });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn faults_are_read_as_they_are_told() {
        let clock = Clock::real();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut told = Told::open(Some(file.path()), clock).unwrap();
        let recorder = Recorder::new(clock);
        let now = clock.unix_ms();
        assert!(!told.read().unwrap());
        write!(
            file,
            "{{\"fault\":\"begin\",\"kind\":\"drain\",\"at\":{}}}\n{{\"fault\"",
            now + 5_000
        )
        .unwrap();
        assert!(!told.read().unwrap());
        let end = now + 7_000;
        writeln!(file, ":\"end\",\"kind\":\"drain\",\"at\":{end}}}\n{{\"end\":true}}").unwrap();
        assert!(told.read().unwrap());
        let lines = told.lines(&recorder);
        let [begins, ends] = &lines[..] else { panic!("{lines:?}") };
        assert!(matches!(&begins.event, Event::FaultBegins { kind, .. } if kind == "drain"));
        assert!(matches!(ends.event, Event::FaultEnds { .. }));
        assert!(begins.at.abs_diff(5_000_000) < 1_000_000, "{lines:?}");
        assert!((ends.at - begins.at).abs_diff(2_000_000) < 10_000, "{lines:?}");
    }

    #[test]
    fn what_nobody_understands_is_said() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut told = Told::open(Some(file.path()), Clock::real()).unwrap();
        writeln!(file, "{{\"fault\":\"starts\",\"kind\":\"x\"}}").unwrap();
        let error = told.read().unwrap_err().to_string();
        assert!(error.starts_with("--events: {\"fault\""), "{error}");
    }
}
