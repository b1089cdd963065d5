//! Clients in a cluster, and what is to be said of a test in the end.

use std::{
    fs::File,
    io::BufWriter,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::ensure;
use chassis::Policy;
use model::{RoomId, ShardId, owner};
use tokio::{sync::watch, task::spawn_blocking};
use verify::{Event, Line, check};

use super::cluster::Cluster;
use crate::{
    figures::{Figures, percentile},
    people::{
        self, Phase, Shared,
        entry::{Entry, Url},
        recorder::Recorder,
    },
    run::{repairs, system},
};

/// How long clients may take until all are in their rooms.
const ARRIVAL: Duration = Duration::from_secs(120);

/// How many clients there are, and how they behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) clients: usize,
    pub(crate) rooms: usize,
    pub(crate) pace: Duration,
}

impl Crowd {
    pub(crate) const USUAL: Self = Self { clients: 200, rooms: 50, pace: Duration::from_secs(2) };
    pub(crate) const SMALL: Self = Self { clients: 60, rooms: 20, pace: Duration::from_secs(1) };
}

/// Clients who chat.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) shared: Arc<Shared>,
    phases: watch::Sender<Phase>,
}

impl Play {
    /// Lets everybody come, and waits until they are in.
    pub(crate) async fn start(cluster: &Cluster, crowd: Crowd, seed: u64) -> anyhow::Result<Self> {
        let recorder = Recorder::new(cluster.clock);
        recorder.add(Event::Run { seed, setting: format!("{crowd:?}"), began_ms: 0 });
        let (phases, phase) = watch::channel(Phase::default());
        let shared = Arc::new(Shared {
            net: cluster.net.clone(),
            clock: cluster.clock,
            tasks: cluster.tasks.clone(),
            recorder: recorder.clone(),
            entry: Entry::Gate(Url::root(&cluster.gate_addr)),
            clients: crowd.clients,
            rooms: crowd.rooms,
            prefix: String::new(),
            pace: crowd.pace,
            phase,
            arrived: AtomicUsize::new(0),
        });
        people::start(&shared, seed);
        let admins = cluster.connectors.iter().map(|pod| (None, pod.process.admin)).collect();
        let repairs = repairs::watch(cluster.net.clone(), cluster.clock, recorder, admins);
        shared.tasks.spawn("repairs", Policy::Session, repairs);
        let arrived = people::arrived(&shared, ARRIVAL).await;
        ensure!(arrived == crowd.clients, "only {arrived} of {} came in", crowd.clients);
        Ok(Self { shared, phases })
    }

    /// The time, in that of the record.
    pub(crate) fn now(&self) -> u64 {
        (self.shared.recorder.seconds() * 1e6) as u64
    }

    pub(crate) async fn wait(&self, seconds: f64) {
        self.shared.clock.sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Takes down that something is broken; returns its number.
    pub(crate) fn breaks(&self, kind: &str, what: &str) -> u32 {
        let fault = self.shared.recorder.next_fault();
        let (kind, what, store_stopped) = (kind.to_owned(), what.to_owned(), false);
        self.shared.recorder.add(Event::FaultBegins {
            fault,
            kind,
            what,
            store_stopped,
            touches: None,
        });
        fault
    }

    pub(crate) fn mended(&self, fault: u32) {
        self.shared.recorder.add(Event::FaultEnds { fault });
    }

    /// Everybody falls silent and goes; returns what happened, with the logs.
    pub(crate) async fn end(
        &self,
        cluster: &Cluster,
        quiet: Duration,
    ) -> anyhow::Result<Vec<Line>> {
        people::be_quiet(&self.shared, &self.phases, quiet).await;
        people::part(&self.shared, &self.phases).await;
        let (program, store) = (cluster.bin_dir.join("chat"), cluster.store()?);
        for room in (0..self.shared.rooms).map(|room| self.shared.room(room)) {
            // The proxies go on meanwhile, else rooms move.
            let (program, store, named) = (program.clone(), store.clone(), room.clone());
            let exported = spawn_blocking(move || system::export(&program, &store, &named));
            if let Some(text) = exported.await?? {
                people::add_log(&self.shared.recorder, &room, &text)?;
            }
        }
        self.shared.recorder.add(Event::End);
        let lines = self.shared.recorder.take();
        let mut out = BufWriter::new(File::create(cluster.folder.join("record.jsonl"))?);
        verify::record::write(&lines, &mut out)?;
        Ok(lines)
    }

    /// Who of these shards has which room, by the numbers of the two.
    pub(crate) fn owners(&self, cluster: &Cluster, shards: &[usize]) -> Vec<usize> {
        let ids: Vec<ShardId> = shards
            .iter()
            .map(|shard| cluster.shards[*shard].process.name.parse().expect("a shard's name"))
            .collect();
        let of = |room: usize| {
            let room = RoomId::parse(&self.shared.room(room)).expect("a name of a room");
            let owner = owner(&room, &ids).and_then(|owner| ids.iter().position(|id| id == owner));
            shards[owner.unwrap_or_default()]
        };
        (0..self.shared.rooms).map(of).collect()
    }
}

/// How often rooms changed hands: claims after the first.
pub(crate) fn moves(lines: &[Line], rooms: usize) -> usize {
    let claims = lines.iter().filter(|line| match &line.event {
        Event::Logged { entry, .. } => entry.kind == "claim",
        _ => false,
    });
    claims.count().saturating_sub(rooms)
}

/// A limit in milliseconds. Programs that are not optimised take longer.
pub(crate) fn limit_ms(ms: u64) -> u64 {
    if cfg!(debug_assertions) { ms * 4 } else { ms }
}

/// What was seen in a test, and what should not have been.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) figures: Vec<String>,
    pub(crate) failures: Vec<String>,
}

impl Report {
    pub(crate) fn say(&mut self, figure: String) {
        self.figures.push(figure);
    }

    /// Notes what should be; it has failed, if it `is` not.
    pub(crate) fn must(&mut self, is: bool, what: String) {
        if is {
            self.figures.push(what);
        } else {
            self.failures.push(what);
        }
    }

    /// The rules of the contract, and what was lost or doubled.
    pub(crate) fn judge(&mut self, lines: &[Line]) -> Figures {
        let outcomes = check(lines);
        for outcome in outcomes.iter().filter(|outcome| outcome.broken > 0) {
            let why = outcome.excerpt.as_ref().map_or("", |excerpt| excerpt.what.as_str());
            self.failures.push(format!("rule {}, {}: {why}", outcome.rule, outcome.name));
        }
        let figures = Figures::of(lines, &outcomes);
        let Figures { acked, lost, doubled, back, .. } = &figures;
        self.must(
            *lost == 0 && *doubled == 0 && *acked > 0,
            format!("{acked} messages acknowledged, lost {lost}, doubled {doubled}"),
        );
        if *back > 0 {
            self.say(format!(
                "{back} reconnects, {} in a second at most, away {} ms at p99",
                figures.back_peak,
                percentile(&figures.away, 99) / 1000
            ));
        }
        if figures.missing > 0 {
            self.failures.push(format!("{} clients never came back", figures.missing));
        }
        figures
    }

    /// The longest pause of each room between two times: p99 below a limit.
    pub(crate) fn pauses(&mut self, lines: &[Line], from: u64, to: u64, limit: u64) {
        let figures = Figures::between(lines, from, to);
        let at = |percent| percentile(&figures.pauses, percent) / 1000;
        let is_kept = at(99) <= limit;
        self.must(
            is_kept,
            format!("rooms paused {} ms at p99, {} ms at most (limit {limit})", at(99), at(100)),
        );
        let refused: usize = figures.refused.get(&503).copied().unwrap_or_default();
        if refused > 0 {
            self.say(format!("{refused} sends answered 503"));
        }
    }

    /// Nobody's session ended.
    pub(crate) fn nobody_left(&mut self, figures: &Figures) {
        let left = figures.back + figures.missing;
        self.must(left == 0, format!("{left} reconnects"));
    }

    pub(crate) fn exited(&mut self, who: &str, code: Option<i32>) {
        let code = code.map_or("a signal".to_owned(), |code| code.to_string());
        self.must(code == "0", format!("{who} exits with {code}"));
    }
}
