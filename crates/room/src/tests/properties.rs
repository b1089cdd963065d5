//! Promises to whoever builds on a room, for any sequence of events.

use proptest::prelude::*;

use super::sim::{NAMES, Sim};

/// What may happen. Connectors, sessions and names are few, so that they meet.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Join { at: usize, session: u64, name: usize, secret: bool, left_off: Option<LeftOff> },
    Leave { at: usize, session: u64, is_away: bool },
    Say { at: usize, session: u64, to: Option<usize>, cmid: u8, content: bool },
    Call { to: Option<usize>, cmid: u8 },
    Take,
    Commit,
    Report,
    Fail,
    Lose { at: usize },
    Return { at: usize, without: Option<u64>, with: Option<usize>, left_off: LeftOff },
    Tick { ms: u64 },
    Kick { name: usize },
    Add { name: usize },
    Fetch { at: usize, back: u64 },
    Redact { back: u64 },
    Read { at: usize, session: u64 },
}

/// Where somebody left off who comes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeftOff {
    /// How far behind, or ahead.
    pub(super) stale: u64,
    /// Up to where the log is gone by now, if it has to be read.
    pub(super) gone: u64,
}

fn left_off() -> impl Strategy<Value = LeftOff> {
    let gone = prop_oneof![3 => Just(0), 1 => 0..8_u64];
    (0..4_u64, gone).prop_map(|(stale, gone)| LeftOff { stale, gone })
}

fn op() -> impl Strategy<Value = Op> {
    let (at, session, name) = (0..3_usize, 1..4_u64, 0..NAMES.len());
    let to = prop::option::of(name.clone());
    prop_oneof![
        4 => (at.clone(), session.clone(), name.clone(), any::<bool>(), prop::option::of(left_off()))
            .prop_map(|(at, session, name, secret, left_off)| {
                Op::Join { at, session, name, secret, left_off }
            }),
        1 => (at.clone(), session.clone(), any::<bool>())
            .prop_map(|(at, session, is_away)| Op::Leave { at, session, is_away }),
        5 => (at.clone(), session.clone(), to.clone(), 0..6_u8, prop::bool::weighted(0.2))
            .prop_map(|(at, session, to, cmid, content)| Op::Say { at, session, to, cmid, content }),
        1 => (to, 0..6_u8).prop_map(|(to, cmid)| Op::Call { to, cmid }),
        3 => Just(Op::Take),
        3 => Just(Op::Commit),
        3 => Just(Op::Report),
        1 => Just(Op::Fail),
        1 => (0..4_u64).prop_map(|back| Op::Redact { back }),
        1 => (at.clone(), session.clone()).prop_map(|(at, session)| Op::Read { at, session }),
        1 => at.clone().prop_map(|at| Op::Lose { at }),
        2 => (at.clone(), prop::option::of(session), prop::option::of(name.clone()), left_off())
            .prop_map(|(at, without, with, left_off)| {
                Op::Return { at, without, with, left_off }
            }),
        1 => (0..60_u64).prop_map(|ms| Op::Tick { ms }),
        1 => name.clone().prop_map(|name| Op::Kick { name }),
        1 => name.prop_map(|name| Op::Add { name }),
        1 => (at, 0..4_u64).prop_map(|(at, back)| Op::Fetch { at, back }),
    ]
}

/// How a room may end.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Release,
    Superseded,
    Fenced,
    Unknown,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Release), Just(End::Superseded), Just(End::Fenced), Just(End::Unknown)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever is in hears everything that they may hear, once and in order, and
    /// nothing before it is stored; everybody knows the same roster, and both sides
    /// of a link the same digest; whoever asks is answered once.
    #[test]
    fn everybody_knows_what_they_should(ops in prop::collection::vec(op(), 0..120)) {
        let mut sim = Sim::new();
        ops.iter().for_each(|op| sim.run(op));
        sim.settle();
    }

    /// The same up to the end of the room, whatever that is.
    #[test]
    fn nobody_waits_for_a_room_that_has_ended(
        ops in prop::collection::vec(op(), 0..40),
        end in end(),
    ) {
        let mut sim = Sim::new();
        ops.iter().for_each(|op| sim.run(op));
        sim.end(end);
    }
}
