//! What happens in a run, as data.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster::View;
use tokio::sync::{Notify, watch};
use turmoil::{Builder, Sim};

use crate::{
    client::Person,
    hosts::{Host, view},
    record::{Record, Recorder},
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
    /// A process sees these shards from now on; needs [`Plan::views`].
    See(String, Vec<String>),
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
    /// What goes wrong, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// True if processes see what [`Fault::See`] says, at first all shards; else
    /// they find out by themselves.
    pub views: bool,
    /// Longest time that a message takes from host to host.
    pub latency: Duration,
    /// How long it goes on.
    pub length: Duration,
}

/// How a run went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// What the people saw.
    pub record: Record,
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
            faults: Vec::new(),
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

    /// Carries the plan out.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let recorder = Recorder::default();
        let mut sim = Builder::new()
            .rng_seed(self.seed)
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(self.latency)
            .tcp_capacity(4096)
            .simulation_duration(self.length * 2)
            .build();
        let handles = self.populate(&mut sim, &recorder);
        let broken = self.drive(&mut sim, &handles).err().map(|error| error.to_string());
        // While the hosts end, their clients would record it.
        let record = recorder.take();
        drop(sim);
        Outcome { record, broken }
    }

    fn populate(&self, sim: &mut Sim<'_>, recorder: &Recorder) -> Handles {
        let (mut views, mut switches) = (BTreeMap::new(), BTreeMap::new());
        let mut host = |id: &String| {
            let all = view(&self.shards);
            let view = self.views.then(|| {
                let sender = Arc::new(watch::Sender::new(all));
                views.insert(id.clone(), Arc::clone(&sender));
                sender
            });
            let off = Arc::new(Notify::new());
            switches.insert(id.clone(), Arc::clone(&off));
            Host { id: id.clone(), seed: self.seed, shards: self.shards.clone(), view, off }
        };
        for id in &self.shards {
            host(id).chat(sim);
        }
        for id in &self.connectors {
            host(id).connector(sim);
        }
        let lives = self.people.iter().map(|p| p.clone().live(self.seed, recorder.clone()));
        let all = futures::future::join_all(lives.collect::<Vec<_>>());
        sim.client("people", async {
            all.await;
            Ok(())
        });
        Handles { views, switches }
    }

    fn drive(&self, sim: &mut Sim<'_>, handles: &Handles) -> turmoil::Result {
        let mut faults = self.faults.clone();
        faults.sort_by_key(|(at, _)| *at);
        let mut faults = faults.into_iter().peekable();
        while sim.elapsed() < self.length {
            while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= sim.elapsed()) {
                handles.befall(sim, &fault)?;
            }
            sim.step()?;
        }
        Ok(())
    }
}

/// What a plan has in hand while it is carried out.
struct Handles {
    views: BTreeMap<String, Arc<watch::Sender<View>>>,
    switches: BTreeMap<String, Arc<Notify>>,
}

impl Handles {
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
            Fault::See(host, shards) => {
                if let Some(sender) = self.views.get(host) {
                    sender.send_replace(view(shards));
                }
            }
        }
        Ok(())
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
