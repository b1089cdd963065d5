//! Per rule a record that keeps it and one that breaks it.

use super::*;
use crate::record::{Entry, Event, Position, REPAIR, Shown, Verdict};

const EPOCH: &str = "00000000000000aa";

/// A record in the making: each line is a tenth of a second after the last.
#[derive(Clone, Default)]
struct Script {
    lines: Vec<Line>,
    requests: u32,
    log: Vec<Entry>,
    taken: u64,
}

fn at(seq: u64) -> Option<Position> {
    Some(Position { epoch: EPOCH.into(), seq })
}

fn verdict(kind: &str) -> Verdict {
    Verdict { kind: kind.into(), first: None, position: None }
}

/// Who somebody is, by name.
fn identity(name: &str) -> Option<String> {
    Some(format!("id-{name}"))
}

impl Script {
    fn add(mut self, event: Event) -> Self {
        let at = self.lines.last().map_or(0, |line| line.at) + 100_000;
        self.lines.push(Line { at, event });
        self
    }

    fn wait(mut self, seconds: u64) -> Self {
        let at = self.lines.last().map_or(0, |line| line.at) + seconds * 1_000_000;
        self.lines.push(Line { at, event: Event::QuietBegins });
        self
    }

    fn ask(mut self, session: u32, extended: bool, name: &str, resume: Option<Position>) -> Self {
        let (connector, client) = ("c".into(), name.into());
        self = self.add(Event::Opened { session, client, extended, connector });
        self.requests += 1;
        let (room, request, name) = ("r".into(), self.requests, name.to_owned());
        let identity = extended.then(|| identity(&name)).flatten();
        self.add(Event::Enter { session, request, room, name, identity, resume })
    }

    /// The answer to the last request to come in.
    fn into(self, session: u32, position: Option<Position>, verdict: Option<Verdict>) -> Self {
        let (request, users) = (self.requests, vec!["ann".into(), "bob".into()]);
        self.add(Event::Entered { session, request, code: 200, users, position, verdict })
    }

    /// Extended, at the claim, which is entry 1.
    fn ext(self, session: u32, name: &str) -> Self {
        self.ask(session, true, name, None).into(session, at(1), None)
    }

    fn plain(self, session: u32, name: &str) -> Self {
        self.ask(session, false, name, None).into(session, None, None)
    }

    fn say(mut self, session: u32, cmid: &str, target: &str, content: &str) -> Self {
        self.requests += 1;
        let (request, cmid) = (self.requests, Some(cmid.into()));
        let (target, content) = (target.into(), content.into());
        self.add(Event::Send { session, request, cmid, target, content })
    }

    fn ack(self, session: u32, code: u16, seq: u64) -> Self {
        let (request, position) = (self.requests, if code == 200 { at(seq) } else { None });
        self.add(Event::Sent { session, request, code, position })
    }

    fn push(self, session: u32, from: &str, target: &str, content: &str, seq: u64) -> Self {
        let (from, target, content) = (from.into(), target.into(), content.into());
        let (position, redacted) = (at(seq), false);
        self.add(Event::Pushed { session, from, target, content, position, redacted })
    }

    fn came(self, session: u32, user: &str) -> Self {
        self.add(Event::Came { session, user: user.into(), numbered: false })
    }

    fn close(self, session: u32) -> Self {
        self.add(Event::Closed { session, by_client: true, reason: String::new() })
    }

    fn page(mut self, session: u32, entries: &[(u64, &str)]) -> Self {
        self.requests += 1;
        let request = self.requests;
        self = self.add(Event::Ask { session, request, before: None, after: Some(0) });
        let shown = |(seq, content): &(u64, &str)| Shown {
            seq: *seq,
            from: "ann".into(),
            target: "*".into(),
            content: (*content).into(),
            redacted: false,
        };
        let (epoch, entries) = (EPOCH.into(), entries.iter().map(shown).collect());
        let (code, head, taken, complete) = (200, 3, 0, true);
        self.add(Event::Page { session, request, code, epoch, head, taken, complete, entries })
    }

    fn claim(mut self) -> Self {
        let seq = self.log.len() as u64 + 1;
        let kind = "claim".into();
        self.log.push(Entry { seq, term: seq, kind, ..Entry::default() });
        self
    }

    fn stored(mut self, author: &str, target: &str, content: &str) -> Self {
        let (seq, is_whisper) = (self.log.len() as u64 + 1, target != "*");
        self.log.push(Entry {
            seq,
            term: 1,
            kind: if is_whisper { "whisper" } else { "message" }.into(),
            author: Some(author.into()),
            author_identity: identity(author),
            target: is_whisper.then(|| target.into()),
            target_identity: identity(target).filter(|_| is_whisper),
            cmid: Some(format!("{content}{seq}")),
            content: Some(content.into()),
            ..Entry::default()
        });
        self
    }

    /// What a rule says: how often it was checked, and how often broken.
    #[track_caller]
    fn judge(mut self, rule: u8) -> (u64, u64) {
        let (room, epoch, taken) = ("r".to_owned(), EPOCH.to_owned(), self.taken);
        let head = self.log.last().map_or(0, |entry| entry.seq);
        self = self.add(Event::Log { room, epoch, head, taken });
        for entry in std::mem::take(&mut self.log) {
            self = self.add(Event::Logged { room: "r".into(), entry });
        }
        self = self.add(Event::End);
        let outcome = check(&self.lines).swap_remove(usize::from(rule) - 1);
        assert_eq!(outcome.rule, rule);
        assert_eq!(outcome.excerpt.is_some(), outcome.broken > 0);
        (outcome.checked, outcome.broken)
    }
}

/// A rule is checked and kept by one script, and broken by another.
#[track_caller]
fn check_rule(rule: u8, kept: Script, broken: Script) {
    let (checked, violations) = kept.judge(rule);
    assert!(checked > 0 && violations == 0, "{checked} checked, {violations} broken");
    assert!(broken.judge(rule).1 > 0, "not found");
}

/// A claim and two messages of ann, who is in with bob.
fn scene() -> Script {
    let script = Script::default().ext(1, "ann").plain(2, "bob");
    script.claim().stored("ann", "*", "a").stored("ann", "*", "b")
}

fn said(script: Script) -> Script {
    script.say(1, "x", "*", "a").ack(1, 200, 2).say(1, "y", "*", "b").ack(1, 200, 3)
}

#[test]
fn a_log_has_no_holes() {
    let mut holed = scene();
    holed.log.remove(1);
    check_rule(1, scene(), holed);
}

#[test]
fn a_place_is_one_entry() {
    let script = said(scene()).push(2, "ann", "*", "a", 2);
    let damaged = Event::Damaged { room: "r".into(), what: "entry 2 is damaged".into() };
    check_rule(2, script.clone(), script.clone().add(damaged));
    check_rule(2, script.clone(), script.push(1, "ann", "*", "b", 2));
}

#[test]
fn what_is_acknowledged_is_stored() {
    check_rule(3, said(scene()), scene().say(1, "x", "*", "c").ack(1, 200, 4));
    let stop = |store_stopped| Event::FaultBegins {
        fault: 1,
        kind: "stall".into(),
        what: "store".into(),
        store_stopped,
        touches: None,
    };
    let during = |stopped| said(scene().add(stop(stopped))).add(Event::FaultEnds { fault: 1 });
    check_rule(3, during(false), during(true));
}

#[test]
fn what_is_pushed_is_stored() {
    let script = said(scene());
    let lost = script.clone().say(1, "z", "*", "c").push(2, "ann", "*", "c", 4);
    check_rule(4, script.push(2, "ann", "*", "a", 2), lost);
}

#[test]
fn one_cmid_is_one_entry() {
    let script = said(scene());
    let again = script.clone().say(1, "x", "*", "a").ack(1, 200, 2);
    check_rule(5, again.clone().say(1, "x", "*", "q").ack(1, 409, 0), {
        script.clone().say(1, "x", "*", "a").ack(1, 200, 3)
    });
    check_rule(5, again.clone(), script.say(1, "x", "*", "q").ack(1, 200, 2));
    check_rule(5, again.clone(), again.stored("ann", "*", "a"));
}

#[test]
fn terms_are_those_of_the_claims() {
    check_rule(6, scene(), scene().claim().stored("ann", "*", "c"));
}

#[test]
fn a_session_sees_all_in_order_once() {
    let one = said(scene()).push(2, "ann", "*", "a", 2);
    let both = one.push(2, "ann", "*", "b", 3);
    check_rule(7, both.clone(), both.push(2, "ann", "*", "b", 3));
    let script = said(scene().ext(3, "cid"));
    let hole = script.clone().push(3, "ann", "*", "b", 3);
    check_rule(7, script.clone().push(3, "ann", "*", "a", 2), hole);
    let short = script.clone().page(3, &[(2, "a")]);
    check_rule(7, script.page(3, &[(2, "a"), (3, "b")]), short);
}

#[test]
fn a_session_sees_the_last_one_too() {
    let early = said(scene()).push(2, "ann", "*", "a", 2).push(2, "ann", "*", "b", 3);
    let own = |script: Script| script.push(1, "ann", "*", "a", 2).push(1, "ann", "*", "b", 3);
    check_rule(8, own(early.clone()).wait(20), own(said(scene())).wait(20));
    let late = own(said(scene()).push(2, "ann", "*", "a", 2)).wait(6);
    check_rule(8, own(early).wait(6), late.push(2, "ann", "*", "b", 3).wait(20));
}

#[test]
fn a_verdict_is_true() {
    let back = |seq, kind: &str| {
        said(scene()).close(1).ask(3, true, "ann", at(seq)).into(3, at(3), Some(verdict(kind)))
    };
    check_rule(9, back(2, "complete"), back(9, "complete"));
    check_rule(9, back(9, "reset"), back(2, "reset"));
    check_rule(9, back(1, "complete").push(3, "ann", "*", "a", 2), {
        back(1, "complete").push(3, "ann", "*", "b", 3)
    });
    let none = said(scene()).ask(3, true, "ann", at(2)).into(3, at(3), None);
    check_rule(9, back(3, "complete"), none);
}

#[test]
fn a_name_is_denied_only_while_another_may_have_it() {
    let refused = |script: Script, session, request| {
        let verdict = Some(verdict("denied"));
        let (code, users, position) = (403, Vec::new(), None);
        script.add(Event::Entered { session, request, code, users, position, verdict })
    };
    let imitated = || {
        let mut script = scene().ext(5, "cid").ask(3, true, "cid", at(1));
        if let Event::Enter { identity, .. } = &mut script.lines.last_mut().unwrap().event {
            *identity = Some("id-other".into());
        }
        script
    };
    // Not answered yet, so it may be in, although the name is another's.
    let both = imitated().ask(4, true, "cid", at(1));
    let (first, second) = (both.requests - 1, both.requests);
    let kept = refused(refused(both, 4, second), 3, first);
    let alone = refused(imitated(), 3, first).ask(4, true, "cid", at(1));
    check_rule(9, kept.close(3).close(4), refused(alone, 4, second).close(4));
}

#[test]
fn nobody_else_gets_in_under_a_name() {
    let other = |code| {
        let mut script = scene().ask(3, true, "ann", at(1));
        if let Event::Enter { identity, .. } = &mut script.lines.last_mut().unwrap().event {
            *identity = Some("id-other".into());
        }
        let (request, users) = (script.requests, Vec::new());
        script.add(Event::Entered {
            session: 3,
            request,
            code,
            users,
            position: None,
            verdict: Some(verdict("denied")),
        })
    };
    check_rule(10, other(403), other(200));
    check_rule(10, other(403), other(403).push(3, "ann", "*", "a", 2));
}

#[test]
fn a_successor_ends_the_one_before() {
    let two = scene().ask(3, true, "ann", None).into(3, at(1), None);
    check_rule(11, two.clone().close(1).wait(30), two.clone().wait(30));
    let spoke = two.say(1, "x", "*", "a").ack(1, 200, 2).close(1).wait(30);
    check_rule(11, scene().ext(3, "ann").close(1).wait(30), spoke);
}

#[test]
fn a_repair_excuses_what_came_before_it_only() {
    let repaired = |script: Script| {
        let (fault, kind, what) = (1, REPAIR.to_owned(), String::new());
        let script = script.add(Event::FaultBegins {
            fault,
            kind,
            what,
            store_stopped: false,
            touches: None,
        });
        script.add(Event::FaultEnds { fault })
    };
    let imitated = |script: Script| script.ask(3, true, "ann", None).into(3, at(1), None);
    let spoke = |script: Script| script.say(1, "x", "*", "a").ack(1, 200, 2).close(1);
    let before = repaired(spoke(imitated(scene()))).wait(30);
    let after = spoke(imitated(repaired(scene()).wait(2))).wait(30);
    check_rule(11, before, after);
}

/// Entry `seq` was claimed by `shard`, so many seconds after the start.
fn claimed(mut script: Script, seq: usize, shard: &str, seconds: u64) -> Script {
    let entry = &mut script.log[seq - 1];
    (entry.by, entry.at) = (Some(shard.into()), BEGAN_MS + seconds * 1000);
    script
}

const BEGAN_MS: u64 = 1_000_000;

#[test]
fn a_fault_excuses_who_may_have_felt_it_only() {
    // Bob misses b for 15 s, and something is broken all the time.
    let late = |touches: &[&str], is_moved: bool| {
        let (seed, setting, began_ms) = (0, String::new(), BEGAN_MS);
        let script = Script::default().add(Event::Run { seed, setting, began_ms });
        let script = script.ext(1, "ann").plain(2, "bob").claim();
        let script = script.stored("ann", "*", "a").stored("ann", "*", "b");
        let script = claimed(script, 1, "chat-1", 0);
        let touches = Some(touches.iter().map(|&name| name.to_owned()).collect());
        let (fault, kind, what) = (1, "kill-shard".into(), String::new());
        let script =
            script.add(Event::FaultBegins { fault, kind, what, store_stopped: false, touches });
        let script = said(script).push(2, "ann", "*", "a", 2);
        let script = script.push(1, "ann", "*", "a", 2).push(1, "ann", "*", "b", 3).wait(15);
        let script = script.add(Event::FaultEnds { fault }).push(2, "ann", "*", "b", 3).wait(40);
        if is_moved { claimed(script.claim(), 4, "chat-2", 9) } else { script }
    };
    check_rule(8, late(&["chat-1"], false), late(&["chat-2"], false));
    check_rule(8, late(&["c"], false), late(&["d"], false));
    check_rule(8, late(&["chat-2"], true), late(&[], false));
    check_rule(8, late(&["chat-3"], true), late(&["chat-3"], false));
}

#[test]
fn a_room_that_moves_excuses_a_moment_only() {
    // Somebody gets in as ann, who goes on, while chat-2 takes the room: then, or later.
    let imitated = |moved_s| {
        let (seed, setting, began_ms) = (0, String::new(), BEGAN_MS);
        let script = Script::default().add(Event::Run { seed, setting, began_ms });
        let script = script.ext(1, "ann").plain(2, "bob").claim();
        let script = script.stored("ann", "*", "a").claim().stored("ann", "*", "b");
        let script = claimed(claimed(script, 1, "chat-1", 0), 3, "chat-2", moved_s);
        let script = script.wait(10).ask(3, true, "ann", None).into(3, at(1), None);
        script.say(1, "x", "*", "a").ack(1, 200, 2).close(1).wait(30)
    };
    check_rule(11, imitated(10), imitated(6));
}

#[test]
fn rosters_are_who_is_there() {
    let quiet =
        |script: Script| script.add(Event::QuietBegins).wait_quietly().add(Event::QuietEnds);
    check_rule(12, quiet(scene()), quiet(scene().ext(3, "cid")));
    check_rule(12, quiet(scene().ext(3, "cid").came(1, "cid").came(2, "cid").came(3, "cid")), {
        scene().came(1, "bob")
    });
    let numbered = Event::Went { session: 1, user: "bob".into(), numbered: true };
    check_rule(12, quiet(scene()), scene().add(numbered));
}

impl Script {
    fn wait_quietly(mut self) -> Self {
        let at = self.lines.last().map_or(0, |line| line.at) + 25_000_000;
        self.lines
            .push(Line { at, event: Event::Run { seed: 0, setting: String::new(), began_ms: 0 } });
        self
    }
}

#[test]
fn what_is_refused_is_not_stored() {
    let refused = |code| scene().say(1, "x", "*", "a").ack(1, code, 0);
    check_rule(13, refused(503), refused(500));
}

#[test]
fn a_whisper_is_for_two() {
    let script = scene().ext(3, "cid").stored("ann", "bob", "w");
    let script = script.say(1, "x", "bob", "w").ack(1, 200, 4);
    let others = script.clone().push(3, "ann", "bob", "w", 4);
    check_rule(14, script.push(2, "ann", "bob", "w", 4), others);
}

#[test]
fn what_is_sent_first_is_stored_first() {
    let swapped = scene().say(1, "y", "*", "b").ack(1, 200, 3).say(1, "x", "*", "a");
    check_rule(15, said(scene()), swapped.ack(1, 200, 2));
    let early = scene().say(1, "x", "*", "a").push(1, "ann", "*", "a", 2).ack(1, 200, 2);
    check_rule(15, said(scene()).push(1, "ann", "*", "a", 2), early);
}

#[test]
fn a_rule_that_was_not_checked_is_not_kept() {
    let outcomes = check(&[]);
    assert_eq!(outcomes.len(), RULES.len());
    assert!(outcomes.iter().all(|outcome| !outcome.is_kept()));
}
