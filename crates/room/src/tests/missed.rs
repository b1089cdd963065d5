//! Those who come back in a simulation, and the checks of what they are told that they
//! missed.

use model::{Identity, LinkId, Position, Seq};

use super::{
    EPOCH, connector, link_name, position,
    properties::LeftOff,
    sim::{LIMITS, Sim, who},
};
use crate::{
    Effect, Entry, Event, Input, Join, Kind, Newcomer, Outcome, Rejoin, Replay, Resume, Verdict,
};

impl Sim {
    pub(super) fn join(&mut self, at: usize, newcomer: Newcomer, left_off: Option<LeftOff>) {
        if !self.held[at].up {
            return;
        }
        let (link, request_id) = (self.link(at), self.request());
        self.stage.connectors.expect_join(link, request_id, &newcomer);
        let connector = connector(&link_name(link));
        let resume = left_off.map(|left_off| {
            let position = mark(self.stage.room.head(), &left_off);
            Resume { position, replay: self.read_after(position, &left_off) }
        });
        let asked = resume.as_ref().map(|resume| (resume.position, from(resume)));
        let identity = newcomer.identity;
        let effects = self.apply(Input::Join(Join {
            link,
            connector,
            request_id,
            newcomer,
            resume,
            knows_roster: false,
        }));
        let told = effects.iter().find_map(|effect| match effect {
            Effect::Send {
                event: Event::Reply { outcome: Ok(Outcome::Joined { resumed, .. }), .. },
                ..
            } => Some(resumed),
            _ => None,
        });
        let Some(told) = told else { return };
        assert_eq!(told.is_some(), asked.is_some(), "a verdict for whoever left off");
        if let (Some((verdict, entries)), Some((mark, from))) = (told, asked) {
            self.check_resumed(identity, mark, from, *verdict, entries);
        }
    }

    /// Whoever comes again is told of all that they may see and have missed.
    fn check_resumed(
        &self,
        who: Identity,
        mark: Position,
        from: Seq,
        verdict: Verdict,
        entries: &[Entry],
    ) {
        let head = self.stage.room.head();
        if mark.epoch != head.epoch || mark.seq > head.seq {
            assert_eq!((verdict, entries.len()), (Verdict::Reset, 0));
            return;
        }
        let truncated = Verdict::Truncated { first: from.next() };
        assert_eq!(verdict, if from == mark.seq { Verdict::Complete } else { truncated });
        let may_see = |entry: &&Entry| match &entry.kind {
            Kind::Message => true,
            Kind::Whisper { target_identity, .. } => {
                [*target_identity, entry.author_identity].contains(&who)
            }
        };
        let missed = self.told().iter().filter(|entry| entry.seq > from);
        assert!(entries.iter().eq(missed.filter(may_see)), "what was missed");
    }

    pub(super) fn come_back(
        &mut self,
        at: usize,
        without: Option<u64>,
        with: Option<usize>,
        left_off: LeftOff,
    ) {
        let mut members: Vec<(Newcomer, Option<model::Grant>)> = Vec::new();
        let kept = self.held[at].sessions.iter().filter(|(session, _)| Some(**session) != without);
        members.extend(kept.map(|(_, (newcomer, grant))| (newcomer.clone(), Some(*grant))));
        if let Some(name) = with {
            let new_session = 10 + self.held[at].link;
            members.push((who(at, new_session, name, name % 2 == 0), None));
        }
        self.held[at].link += 1;
        self.held[at].up = true;
        let (link, request_id) = (self.link(at), self.request());
        let mark =
            mark(self.held[at].mark.unwrap_or(Position { epoch: EPOCH, seq: Seq(0) }), &left_off);
        let replay = self.read_after(mark, &left_off);
        let from = replay.as_ref().map_or(mark.seq, |replay| replay.from);
        let connector = connector(&link_name(link));
        let rejoin = Rejoin { link, connector, request_id, mark, members, replay };
        self.stage.connectors.expect_rejoin(&rejoin);
        let effects = self.apply(Input::Rejoin(rejoin));
        self.check_replay(link, mark, from, &effects);
    }

    /// What the shell reads of the log, if it has to; some of it may be gone.
    fn read_after(&self, mark: Position, left_off: &LeftOff) -> Option<Replay> {
        let up_to = self.store.head();
        let from = mark.seq.max(Seq(left_off.gone)).min(up_to);
        let entries = self.store.log.iter().filter(|entry| entry.seq > from).cloned();
        (!self.stage.room.remembers(mark)).then(|| Replay {
            entries: entries.collect(),
            from,
            up_to,
        })
    }

    /// All that the room was told of its log.
    fn told(&self) -> &[Entry] {
        &self.store.log[..usize::try_from(self.stage.room.head().seq.0 - 1).unwrap()]
    }

    /// A replay has all that the members who came back are entitled to.
    fn check_replay(&self, link: LinkId, mark: Position, from: Seq, effects: &[Effect]) {
        let rejoined = effects.iter().find_map(|effect| match effect {
            Effect::Send {
                event:
                    Event::Reply {
                        outcome: Ok(Outcome::Rejoined { verdict, entries, said, .. }), ..
                    },
                ..
            } => Some((*verdict, entries, said)),
            _ => None,
        });
        let (verdict, entries, said) = rejoined.expect("an answer");
        let known = self.stage.connectors.known(link).expect("an open link");
        // Without anybody behind it, a link may be told of what is for all.
        let is_missed = |entry: &&Entry| {
            let nobody = known.sessions.is_empty() && entry.kind == Kind::Message;
            nobody || known.hears(entry)
        };
        let (head, told) = (self.stage.room.head(), self.told());
        if mark.epoch != head.epoch {
            // What is remembered of a log that began in the meantime.
            let from = told.len().saturating_sub(LIMITS.ring_max);
            assert_eq!(verdict, Verdict::Reset);
            assert!(entries.iter().eq(told[from..].iter().filter(is_missed)), "what is new");
        } else if mark.seq > head.seq {
            assert_eq!((verdict, entries.len()), (Verdict::Reset, 0));
        } else if from > mark.seq {
            assert_eq!((verdict, entries.len()), (Verdict::Truncated { first: from.next() }, 0));
        } else {
            assert_eq!(verdict, Verdict::Complete);
            let missed = told.iter().filter(|entry| entry.seq > mark.seq);
            let (missed, others): (Vec<_>, Vec<_>) = missed.partition(is_missed);
            assert!(entries.iter().eq(missed), "what was missed");
            let are_said = others.into_iter().filter(|entry| known.said(entry));
            assert!(said.iter().eq(are_said), "what may not have been answered");
        }
    }
}

/// Mostly where somebody is, at times behind, in another log, or ahead.
fn mark(at: Position, left_off: &LeftOff) -> Position {
    match left_off.stale {
        0 | 1 => Position { seq: Seq(at.seq.0.saturating_sub(left_off.stale * 3)), ..at },
        2 => position("@1?"),
        _ => Position { seq: Seq(at.seq.0 + 1), ..at },
    }
}

/// Above which entry a replay has all.
fn from(resume: &Resume) -> Seq {
    resume.replay.as_ref().map_or(resume.position.seq, |replay| replay.from)
}

#[test]
fn whoever_comes_again_is_told_what_they_missed() {
    super::check(&[
        ("A1+ann=key", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B1!one", ""),
        ("B1>ann!two", ""),
        (
            "store",
            "B #3 stored 2 | A 2<1 bob: one | B 2<1 bob: one | B #4 stored 3 | A 3<2 bob>ann: two",
        ),
        ("A lost", ""),
        ("B1>ann!psst", ""),
        ("store", "B #7 stored 4"),
        // Over a link that was not sent the whispers.
        ("B2+ann=key@1", "B #9 in:3 @2-4 [bob ann] Complete missed 2 3 4"),
        ("B fetch @2", "sent"),
        ("B2+ann=key@4", "B #11 in:3 @2-4 [bob ann] Complete"),
        ("B2+ann=key@5", "B #12 in:3 @2-4 [bob ann] Reset"),
        ("B2+ann=key@4?", "B #13 in:3 @2-4 [bob ann] Reset"),
        ("B1!three", ""),
        ("store", "B #14 stored 5 | B 5<2 bob: three"),
        ("B fetch @2", "sent 5"),
    ]);
}

#[test]
fn whoever_comes_under_the_name_of_another_sees_no_whispers_of_theirs() {
    super::check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("B1+bob", "B #2 in:2 @1 [ann bob] new | A +bob | B +bob(1)"),
        ("B1>ann!psst", ""),
        ("A1>bob!pst", ""),
        ("store", "B #3 stored 2 | A 2<1 bob>ann: psst | A #4 stored 3 | B 3<1 ann>bob: pst"),
        ("A1-", "A #6 gone | B -ann"),
        ("A2+ann@1", "A #7 in:3 @3 [bob ann] new Complete | A +ann(2) | B +ann"),
        // Nobody is told anything who is not let in.
        ("A3+bob@1", "A #8 NameTaken"),
    ]);
}

#[test]
fn who_missed_more_than_the_room_remembers_needs_the_log() {
    super::check(&[
        ("A1+ann", "A #1 in:1 @1 [ann] new | A +ann(1)"),
        ("A1!one", ""),
        ("A1!two", ""),
        ("store", "A #2 stored 2 | A 2<1 ann: one | A #3 stored 3 | A 3<2 ann: two"),
        ("A1!three", ""),
        ("A1!four", ""),
        ("store", "A #5 stored 4 | A 4<3 ann: three | A #6 stored 5 | A 5<4 ann: four"),
        // The ring has 3, 4 and 5.
        ("B1+bob@2", "B #8 in:2 @5 [ann bob] new Complete missed 3 4 5 | A +bob | B +bob(1)"),
        ("B1+bob@1 +2", "B #9 in:2 @5 [ann bob] Complete missed 2 3 4 5"),
        ("B1+bob@0 +lost 1,2", "B #10 in:2 @5 [ann bob] Truncated:2 missed 2 3 4 5"),
        ("B1+bob@1 +lost 4", "B #11 in:2 @5 [ann bob] Truncated:5 missed 5"),
        ("B1+bob@1", "B #12 in:2 @5 [ann bob] Truncated:3 missed 3 4 5"),
    ]);
}
