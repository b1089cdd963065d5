//! Plans that chance makes: a seed decides who chats, where, and what goes wrong.

use std::time::Duration;

use chassis::Rng;

use crate::{
    plan::{Fault, Plan, SharedLog, Trouble},
    store::Weather,
    talker::{Habit, Talker},
};

/// When the first trouble may begin.
const FROM: Duration = Duration::from_secs(5);
/// Troubles begin within this time.
const WITHIN: Duration = Duration::from_secs(14);
/// How long it is quiet at the end.
const QUIET: Duration = Duration::from_secs(22);
/// How long people go on to talk after the last trouble.
const TALK: Duration = Duration::from_secs(9);

const HABITS: [Habit; 7] = [
    Habit::Reads,
    Habit::Wanders,
    Habit::Hangs,
    Habit::Flaps,
    Habit::Jumps,
    Habit::Repeats,
    Habit::Bursts,
];

/// What chance needs.
struct Dice {
    rng: Rng,
    plan: Plan,
    /// True if the plan says what processes see.
    views: bool,
}

/// The plan of a seed.
#[must_use]
pub fn chaos(seed: u64) -> Plan {
    let rng = Rng::seeded(seed ^ 0xc4a0_5000);
    let mut plan = Plan::new(seed);
    let views = rng.u64().is_multiple_of(2);
    let names = |of: &str, count: u64| (0..count).map(|n| format!("{of}-{n}")).collect();
    plan.shards = names("chat", 2 + rng.u64() % 2);
    plan.connectors = names("connector", 2);
    plan.shared = Some(SharedLog::default());
    plan.views = views;
    plan.latency = Duration::from_millis([5, 20, 60][draw(&rng, 3)]);
    plan.room_idle = Some(Duration::from_millis([1500, 300_000][draw(&rng, 2)]));
    let mut dice = Dice { rng, plan, views };
    let count = 2 + dice.draw(4);
    for _ in 0..count {
        dice.trouble();
    }
    dice.people();
    dice.plan
}

fn draw(rng: &Rng, sides: usize) -> usize {
    let sides = u64::try_from(sides).expect("a small number");
    usize::try_from(rng.u64() % sides).expect("a small number")
}

impl Dice {
    fn draw(&self, sides: usize) -> usize {
        draw(&self.rng, sides)
    }

    fn one_of(&self, names: &[String]) -> String {
        names[self.draw(names.len())].clone()
    }

    fn shard(&self) -> String {
        self.one_of(&self.plan.shards)
    }

    fn connector(&self) -> String {
        self.one_of(&self.plan.connectors)
    }

    fn up_to(&self, max_ms: u64) -> Duration {
        self.rng.up_to(Duration::from_millis(max_ms))
    }

    fn people(&mut self) {
        let calm = self.plan.calm_since();
        let rooms: Vec<String> = (0..4).map(|n| format!("r{n}")).collect();
        let names: Vec<String> = (0..9).map(|n| format!("{}", char::from(b'a' + n))).collect();
        for (n, name) in names.iter().enumerate() {
            let room = rooms[[0, 0, 0, 0, 1, 1, 1, 2, 3][n]].clone();
            let mut talker = Talker::new(name, "", &room);
            talker.connectors = self.plan.connectors.clone();
            let turn = self.draw(2);
            talker.connectors.rotate_left(turn);
            talker.comes = self.up_to(3000);
            talker.talks_until = calm + TALK;
            talker.pace = Duration::from_millis(700);
            talker.unrest = Duration::from_secs(5);
            talker.confides_in =
                names.iter().filter(|other| *other != name).take(4).cloned().collect();
            if n % 3 == 2 {
                talker = talker.plain();
            }
            for _ in 0..self.draw(4) {
                talker.habits.push(HABITS[self.draw(HABITS.len())]);
            }
            if talker.habits.contains(&Habit::Wanders) {
                talker.rooms.push(self.one_of(&rooms));
            }
            self.plan.talkers.push(talker);
        }
        // Somebody else who wants a name that is held.
        let mut other = Talker::new("a", "", "r0");
        (other.id, other.secret) = ("z".into(), Some("not the secret of that name".into()));
        other.connectors = vec![self.connector()];
        (other.comes, other.goes) = (FROM - Duration::from_secs(1), Some(FROM + WITHIN));
        (other.pace, other.talks_until) = (Duration::from_secs(1), FROM + WITHIN);
        self.plan.talkers.push(other);
        self.plan.length = calm + QUIET;
    }

    /// One thing that goes wrong, and is mended.
    fn trouble(&mut self) {
        let from = FROM + self.rng.up_to(WITHIN);
        let long = from + Duration::from_millis(500) + self.up_to(9500);
        let (kind, to, begins, ends) = match self.draw(12) {
            0 => self.crash(from),
            1 => self.cut(long),
            2 => self.hold(long),
            3 => {
                let shard = self.shard();
                ("freeze", long, vec![Fault::Freeze(shard.clone())], vec![Fault::Thaw(shard)])
            }
            4 => {
                let connector = self.connector();
                let thaw = Fault::Thaw(connector.clone());
                ("freeze-connector", long, vec![Fault::Freeze(connector)], vec![thaw])
            }
            5 if self.views => self.views(from),
            6 => {
                let weather = self.weather();
                let shard = self.shard();
                let fine = Fault::Weather(shard.clone(), Weather::Fine);
                ("store", long, vec![Fault::Weather(shard, weather)], vec![fine])
            }
            7 => return self.store_of_all(from, long),
            8 => return self.retention(from),
            9 if self.draw(3) == 0 => {
                let (restore, renew) = (vec![Fault::Restore], vec![Fault::NewEpoch]);
                ("new-epoch", from + self.up_to(4000), restore, renew)
            }
            10 if self.views => return self.scale(from),
            11 if self.draw(2) == 0 => self.restart_all(from),
            _ => self.crash(from),
        };
        let stops_store = false;
        self.plan.troubles.push(Trouble { kind, from, to, begins, ends, stops_store });
    }

    fn crash(&self, from: Duration) -> (&'static str, Duration, Vec<Fault>, Vec<Fault>) {
        let host = if self.draw(3) == 0 { self.connector() } else { self.shard() };
        // An end in order: longer away than a drain takes, or not.
        if self.plan.connectors.contains(&host) && self.draw(2) == 0 {
            let back = from + Duration::from_millis(200) + self.up_to(8000);
            return ("stop", back, vec![Fault::Stop(host.clone())], vec![Fault::Restart(host)]);
        }
        let back = from + Duration::from_millis(50) + self.up_to(8000);
        ("kill", back, vec![Fault::Crash(host.clone())], vec![Fault::Restart(host)])
    }

    fn cut(&self, to: Duration) -> (&'static str, Duration, Vec<Fault>, Vec<Fault>) {
        let (a, b) = self.pair();
        let cut = match self.draw(3) {
            0 => Fault::Cut(a.clone(), b.clone()),
            1 => Fault::CutOneWay(a.clone(), b.clone()),
            _ => Fault::CutOneWay(b.clone(), a.clone()),
        };
        ("cut", to, vec![cut], vec![Fault::Mend(a, b)])
    }

    fn hold(&self, to: Duration) -> (&'static str, Duration, Vec<Fault>, Vec<Fault>) {
        let (a, b) = self.pair();
        let hold = Fault::Hold(a.clone(), b.clone());
        ("stall", to, vec![hold], vec![Fault::Release(a, b)])
    }

    fn pair(&self) -> (String, String) {
        let shard = self.shard();
        match self.draw(5) {
            0 => (self.connector(), crate::hosts::PEOPLE.to_owned()),
            1 => {
                let other = self.plan.shards.iter().find(|other| **other != shard);
                (shard.clone(), other.cloned().unwrap_or(shard))
            }
            _ => (self.connector(), shard),
        }
    }

    fn weather(&self) -> Weather {
        [
            Weather::Unreachable,
            Weather::ReadOnly,
            Weather::Slow(Duration::from_millis(5000)),
            Weather::Slow(Duration::from_millis(900)),
            Weather::Mute,
            Weather::Odd,
            Weather::Odd,
        ][self.draw(7)]
    }

    /// The store is down, read-only or slow for all.
    fn store_of_all(&mut self, from: Duration, to: Duration) {
        let weather = self.weather();
        let all = |weather: Weather| -> Vec<Fault> {
            self.plan.shards.iter().map(|id| Fault::Weather(id.clone(), weather)).collect()
        };
        let (mut begins, ends) = (all(weather), all(Weather::Fine));
        if weather == Weather::Unreachable {
            begins.push(Fault::RestartStore);
        }
        // What was on its way may still land.
        let stops_store = false;
        let kind = "store-of-all";
        self.plan.troubles.push(Trouble { kind, from, to, begins, ends, stops_store });
    }

    /// Entries are taken in small steps, while people read.
    fn retention(&mut self, from: Duration) {
        let mut keep = 40;
        for step in 0..8 {
            keep -= self.draw(6) as u64;
            let at = from + Duration::from_millis(400) * step;
            self.plan.faults.push((at, Fault::Retain(keep)));
        }
    }

    /// For a while processes see different shards.
    fn views(&self, from: Duration) -> (&'static str, Duration, Vec<Fault>, Vec<Fault>) {
        let see = |host: &String, seen: Vec<String>| Fault::See(host.clone(), seen);
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        for host in self.plan.shards.iter().chain(&self.plan.connectors) {
            let mut seen = self.plan.shards.clone();
            if self.draw(2) == 0 {
                seen.remove(self.draw(seen.len()));
                begins.push(see(host, seen));
                ends.push(see(host, self.plan.shards.clone()));
            }
        }
        ("views", from + self.up_to(12_000), begins, ends)
    }

    /// Shards come and go, for all to see, one after the other.
    fn scale(&mut self, from: Duration) {
        let all = self.plan.shards.clone();
        let fewer = all[..1 + self.draw(all.len() - 1)].to_vec();
        let hosts: Vec<String> = all.iter().chain(&self.plan.connectors).cloned().collect();
        let back = from + Duration::from_millis(2000) + self.up_to(4000);
        for (begin, seen) in [(from, fewer), (back, all)] {
            let (kind, stops_store) = ("scale", false);
            let mut to = begin;
            for host in &hosts {
                to += self.up_to(300);
                self.plan.faults.push((to, Fault::See(host.clone(), seen.clone())));
            }
            let (begins, ends) = (Vec::new(), Vec::new());
            self.plan.troubles.push(Trouble { kind, from: begin, to, begins, ends, stops_store });
        }
    }

    fn restart_all(&self, from: Duration) -> (&'static str, Duration, Vec<Fault>, Vec<Fault>) {
        let hosts = || self.plan.shards.iter().chain(&self.plan.connectors);
        let begins = hosts().cloned().map(Fault::Crash).collect();
        let ends = hosts().cloned().map(Fault::Restart).collect();
        ("kill-all", from + self.up_to(3000), begins, ends)
    }
}
