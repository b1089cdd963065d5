//! What happens in a run, as data.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster::View;
use tokio::sync::{Notify, watch};
use turmoil::{Builder, Sim};

use verify::{Event, Line};

use crate::{
    client::Person,
    hosts::{Host, PEOPLE, view},
    record::{Record, Recorder},
    store::{Bug, Journal, Shared, Weather},
    talker::{Talker, Writer},
};

/// How far apart in time two things on one host are at least.
const TICK: Duration = Duration::from_millis(5);

/// Something that goes wrong, or is mended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// What either sends to the other is lost.
    Cut(String, String),
    /// What the first sends to the second is lost.
    CutOneWay(String, String),
    /// All that either sends to the other arrives again.
    Mend(String, String),
    /// What either sends to the other waits.
    Hold(String, String),
    /// What has waited is delivered.
    Release(String, String),
    /// A process is gone, with its connections.
    Crash(String),
    /// A process that was gone, or was not, starts anew.
    Restart(String),
    /// A connector is asked to end, as by SIGTERM: it sends its clients away.
    Stop(String),
    /// A process sees these shards from now on; needs [`Plan::views`].
    See(String, Vec<String>),
    /// Nothing gets in or out of a process, nor to the store.
    Freeze(String),
    /// It goes on.
    Thaw(String),
    /// A shard sees the store like this from now on; needs [`Plan::shared`].
    Weather(String, Weather),
    /// The store's connections break.
    RestartStore,
    /// A copy of the store was put in its place.
    Restore,
    /// The rooms get new epochs; ends [`Fault::Restore`].
    NewEpoch,
    /// All but so many newest entries of each room are taken.
    Retain(u64),
}

/// Something that is wrong for a while, as the record has it.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What kind of fault.
    pub kind: &'static str,
    /// From when on.
    pub from: Duration,
    /// Until when.
    pub to: Duration,
    /// What goes wrong then.
    pub begins: Vec<Fault>,
    /// What is mended then.
    pub ends: Vec<Fault>,
    /// True if nothing can be stored meanwhile.
    pub stops_store: bool,
}

/// The log that all shards share.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SharedLog {
    /// A bug that it has.
    pub bug: Option<Bug>,
}

/// Everything that decides a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides all that is random.
    pub seed: u64,
    /// Names of chat shards.
    pub shards: Vec<String>,
    /// Names of connectors.
    pub connectors: Vec<String>,
    /// Who chats.
    pub people: Vec<Person>,
    /// Who chats, and is watched by `verify`.
    pub talkers: Vec<Talker>,
    /// What goes wrong, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// What goes wrong for a while, and is written down.
    pub troubles: Vec<Trouble>,
    /// A log that all shards share; none: each has its own, and loses it.
    pub shared: Option<SharedLog>,
    /// How long an empty room stays loaded; none: long.
    pub room_idle: Option<Duration>,
    /// True if processes see what [`Fault::See`] says, at first all shards; else
    /// they find out by themselves.
    pub views: bool,
    /// Longest time that a message takes from host to host.
    pub latency: Duration,
    /// How long it goes on.
    pub length: Duration,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What the people saw.
    pub record: Record,
    /// What the talkers saw, what went wrong, and what was stored.
    pub lines: Vec<Line>,
    /// What was stored, and when.
    pub journal: Journal,
    /// The error that ended the run before its time, if one did.
    pub broken: Option<String>,
}

impl Plan {
    /// Two shards and two connectors, nobody there yet, and nothing wrong for 60 s.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let names = |of: &str, count: usize| (0..count).map(|n| format!("{of}-{n}")).collect();
        Self {
            seed,
            shards: names("chat", 2),
            connectors: names("connector", 2),
            people: Vec::new(),
            talkers: Vec::new(),
            faults: Vec::new(),
            troubles: Vec::new(),
            shared: None,
            room_idle: None,
            views: false,
            latency: Duration::from_millis(20),
            length: Duration::from_secs(60),
        }
    }

    /// Lets something go wrong.
    #[must_use]
    pub fn with(mut self, at: Duration, fault: Fault) -> Self {
        self.faults.push((at, fault));
        self
    }

    /// Lets something be wrong for a while.
    #[must_use]
    pub fn during(mut self, trouble: Trouble) -> Self {
        self.troubles.push(trouble);
        self
    }

    /// When the last trouble is over.
    #[must_use]
    pub fn calm_since(&self) -> Duration {
        self.troubles.iter().map(|trouble| trouble.to).max().unwrap_or_default()
    }

    /// Carries the plan out.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let (recorder, writer) = (Recorder::default(), Writer::default());
        let mut sim = Builder::new()
            .rng_seed(self.seed)
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(self.latency)
            .tcp_capacity(4096)
            .simulation_duration(self.length * 2)
            .build();
        let run = Event::Run { seed: self.seed, setting: "simulation".into(), began_ms: 0 };
        writer.add_at(Duration::ZERO, run);
        let handles = self.populate(&mut sim, &recorder, &writer);
        let broken = self.drive(&mut sim, &handles).err().map(|error| error.to_string());
        // While the hosts end, their clients would record it.
        let (record, mut lines) = (recorder.take(), writer.take());
        let elapsed = sim.elapsed();
        drop(sim);
        let journal = handles.store.map(|store| store.journal()).unwrap_or_default();
        let at = u64::try_from(elapsed.as_micros()).expect("a short simulation");
        lines.extend(journal.events().into_iter().map(|event| Line { at, event }));
        lines.push(Line { at, event: Event::End });
        Outcome { record, lines, journal, broken }
    }

    fn populate(&self, sim: &mut Sim<'_>, recorder: &Recorder, writer: &Writer) -> Handles {
        let (mut views, mut switches) = (BTreeMap::new(), BTreeMap::new());
        let mut stops = BTreeMap::new();
        let store = self.shared.map(|shared| Shared::new(self.seed, shared.bug));
        let mut host = |id: &String| {
            let all = view(&self.shards);
            let view = self.views.then(|| {
                let sender = Arc::new(watch::Sender::new(all));
                views.insert(id.clone(), Arc::clone(&sender));
                sender
            });
            let off = Arc::new(Notify::new());
            switches.insert(id.clone(), Arc::clone(&off));
            let stop = Arc::new(Notify::new());
            stops.insert(id.clone(), Arc::clone(&stop));
            let (id, shards, store) = (id.clone(), self.shards.clone(), store.clone());
            Host { id, seed: self.seed, shards, view, off, stop, store, room_idle: self.room_idle }
        };
        for id in &self.shards {
            host(id).chat(sim);
        }
        for id in &self.connectors {
            host(id).connector(sim);
        }
        let lives = self.people.iter().map(|p| p.clone().live(self.seed, recorder.clone()));
        let all = futures::future::join_all(lives.collect::<Vec<_>>());
        let talks = self.talkers.iter().map(|t| t.clone().live(self.seed, writer.clone()));
        let talks = futures::future::join_all(talks.collect::<Vec<_>>());
        sim.client(PEOPLE, async {
            tokio::join!(all, talks);
            Ok(())
        });
        Handles { views, switches, stops, store, writer: writer.clone(), all: self.hosts() }
    }

    fn hosts(&self) -> Vec<String> {
        let hosts = self.shards.iter().chain(&self.connectors).cloned();
        hosts.chain([PEOPLE.to_owned()]).collect()
    }

    /// All that happens, in order of time.
    fn timeline(&self) -> Vec<(Duration, Step<'_>)> {
        let mut steps: Vec<_> =
            self.faults.iter().map(|(at, fault)| (*at, Step::Befall(fault))).collect();
        for (number, trouble) in self.troubles.iter().enumerate() {
            steps.push((trouble.from, Step::Begin(number, trouble)));
            steps.push((trouble.to, Step::End(number, trouble)));
        }
        if !self.troubles.is_empty() {
            steps.push((self.calm_since() + TICK, Step::Note(Box::new(Event::QuietBegins))));
            steps.push((
                self.length.saturating_sub(TICK * 2),
                Step::Note(Box::new(Event::QuietEnds)),
            ));
        }
        steps.sort_by_key(|(at, _)| *at);
        steps
    }

    fn drive(&self, sim: &mut Sim<'_>, handles: &Handles) -> turmoil::Result {
        let mut steps = self.timeline().into_iter().peekable();
        while sim.elapsed() < self.length {
            while let Some((_, step)) = steps.next_if(|(at, _)| *at <= sim.elapsed()) {
                handles.take(sim, step)?;
            }
            sim.step()?;
            if let Some(store) = &handles.store {
                store.land(sim.elapsed());
            }
        }
        Ok(())
    }
}

/// One moment of a plan.
enum Step<'a> {
    Befall(&'a Fault),
    Begin(usize, &'a Trouble),
    End(usize, &'a Trouble),
    Note(Box<Event>),
}

/// What a plan has in hand while it is carried out.
struct Handles {
    views: BTreeMap<String, Arc<watch::Sender<View>>>,
    switches: BTreeMap<String, Arc<Notify>>,
    stops: BTreeMap<String, Arc<Notify>>,
    store: Option<Shared>,
    writer: Writer,
    all: Vec<String>,
}

impl Handles {
    fn take(&self, sim: &mut Sim<'_>, step: Step<'_>) -> turmoil::Result {
        let at = sim.elapsed();
        match step {
            Step::Befall(fault) => self.befall(sim, fault),
            Step::Note(event) => {
                self.writer.add_at(at, *event);
                Ok(())
            }
            Step::Begin(number, trouble) => {
                trouble.begins.iter().try_for_each(|fault| self.befall(sim, fault))?;
                self.writer.add_at(
                    sim.elapsed(),
                    Event::FaultBegins {
                        fault: u32::try_from(number)?,
                        kind: trouble.kind.into(),
                        what: format!("{:?}", trouble.begins),
                        store_stopped: trouble.stops_store,
                        touches: None,
                    },
                );
                Ok(())
            }
            Step::End(number, trouble) => {
                let ends = Event::FaultEnds { fault: u32::try_from(number)? };
                if trouble.stops_store {
                    self.writer.add_at(at, ends.clone());
                }
                trouble.ends.iter().try_for_each(|fault| self.befall(sim, fault))?;
                if !trouble.stops_store {
                    self.writer.add_at(sim.elapsed(), ends);
                }
                Ok(())
            }
        }
    }

    fn befall(&self, sim: &mut Sim<'_>, fault: &Fault) -> turmoil::Result {
        match fault {
            Fault::Cut(a, b) => sim.partition(a.as_str(), b.as_str()),
            Fault::CutOneWay(from, to) => sim.partition_oneway(from.as_str(), to.as_str()),
            Fault::Mend(a, b) => sim.repair(a.as_str(), b.as_str()),
            Fault::Hold(a, b) => sim.hold(a.as_str(), b.as_str()),
            Fault::Release(a, b) => sim.release(a.as_str(), b.as_str()),
            Fault::Crash(host) => {
                self.switch_off(sim, host)?;
                sim.crash(host.as_str());
            }
            Fault::Restart(host) => {
                self.switch_off(sim, host)?;
                sim.bounce(host.as_str());
            }
            Fault::Stop(host) => {
                // One that is not there does not hear it, not even later.
                if let Some(stop) = self.stops.get(host) {
                    stop.notify_waiters();
                }
            }
            Fault::See(host, shards) => {
                if let Some(sender) = self.views.get(host) {
                    sender.send_replace(view(shards));
                }
            }
            Fault::Freeze(host) => {
                self.others(host).for_each(|other| sim.hold(host.as_str(), other.as_str()));
                self.see_store(host, Weather::Frozen);
            }
            Fault::Thaw(host) => {
                self.others(host).for_each(|other| sim.release(host.as_str(), other.as_str()));
                self.see_store(host, Weather::Fine);
            }
            Fault::Weather(host, weather) => self.see_store(host, *weather),
            Fault::RestartStore => self.with_store(Shared::restart),
            Fault::Restore => self.with_store(Shared::restore),
            Fault::NewEpoch => self.with_store(Shared::new_epoch),
            Fault::Retain(entries) => self.with_store(|store| store.retain(*entries)),
        }
        Ok(())
    }

    fn others<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a String> {
        self.all.iter().filter(move |other| *other != host)
    }

    fn see_store(&self, shard: &str, weather: Weather) {
        self.with_store(|store| store.set_weather(shard, weather));
    }

    fn with_store(&self, change: impl FnOnce(&Shared)) {
        if let Some(store) = &self.store {
            change(store);
        }
    }

    fn switch_off(&self, sim: &mut Sim<'_>, host: &str) -> turmoil::Result {
        if let Some(switch) = self.switches.get(host)
            && sim.is_host_running(host)
        {
            switch.notify_one();
            sim.step()?;
        }
        Ok(())
    }
}
