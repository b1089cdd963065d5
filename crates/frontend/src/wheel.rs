//! All time-outs of a server, in one task.
//!
//! Every session is in exactly one slot, the one at which it has to be looked at
//! next. A heartbeat only stores the time; the session finds its later slot when
//! the old one comes up. So a heartbeat costs one store, and a look each 2·H.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
    time::Duration,
};

use chassis::Clock;
use tokio_util::sync::CancellationToken;

use crate::{CloseReason, Session, session::Common};

/// How exact time-outs are.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Ticks that one round of the task may count. A process that was stopped or
/// starved for longer has not read its sockets meanwhile: that time is not held
/// against the clients.
const CATCH_UP: u32 = 5;

/// Slots at most; who has to wait longer is looked at once more on the way.
const SLOTS_MAX: u32 = 4096;

/// How long clients may be silent, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// From the connection to the handshake's ACK.
    pub(crate) handshake: u32,
    /// From one heartbeat to the next; none if the profile has no heartbeat.
    pub(crate) heartbeat: Option<u32>,
    /// From the connection, or from the end of what it was there for.
    pub(crate) idle: u32,
}

impl Timeouts {
    pub(crate) fn new(handshake: Duration, idle: Duration, heartbeat_secs: Option<u16>) -> Self {
        let ticks = |span: Duration| {
            u32::try_from(span.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
        };
        let per_second = 10;
        Self {
            handshake: ticks(handshake),
            heartbeat: heartbeat_secs.map(|secs| 2 * u32::from(secs) * per_second),
            idle: ticks(idle),
        }
    }

    /// A session must be looked at this often, because when its handshake ends,
    /// the shorter of the others begins.
    fn shortest(&self) -> u32 {
        let shortest = self.handshake.min(self.idle);
        self.heartbeat.map_or(shortest, |heartbeat| heartbeat.min(shortest))
    }
}

type Slots<S> = Box<[Vec<Weak<Session<S>>>]>;

#[derive(Debug)]
pub(crate) struct Wheel<S> {
    common: Arc<Common>,
    /// None once the server stops.
    slots: Mutex<Option<Slots<S>>>,
    len: u32,
}

impl<S> Wheel<S> {
    pub(crate) fn new(common: Arc<Common>) -> Self {
        let len = common.timeouts.shortest().saturating_add(3).clamp(16, SLOTS_MAX);
        let slots = (0..len).map(|_| Vec::new()).collect();
        Self { common, slots: Mutex::new(Some(slots)), len }
    }

    /// Takes a new session in. False if the server stops.
    pub(crate) fn insert(&self, session: &Arc<Session<S>>) -> bool {
        let now = self.common.now.load(Ordering::Relaxed);
        let at = now.saturating_add(self.common.timeouts.shortest() + 1);
        self.put(now, vec![(at, Arc::downgrade(session))])
    }

    /// Turns until `shutdown`, then closes all sessions.
    pub(crate) async fn run(self: Arc<Self>, clock: Clock, shutdown: CancellationToken) {
        let mut last = clock.now();
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = clock.sleep(TICK) => {}
                () = shutdown.cancelled() => break,
            }
            let passed = (clock.now() - last).as_millis() / TICK.as_millis();
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            last += TICK * passed;
            for _ in 0..passed.min(CATCH_UP) {
                self.turn();
            }
        }
        self.close_all();
    }

    /// One tick.
    fn turn(&self) {
        let now = self.common.now.fetch_add(1, Ordering::Relaxed) + 1;
        let due = match &mut *self.slots() {
            Some(slots) => std::mem::take(&mut slots[(now % self.len) as usize]),
            None => return,
        };
        let mut later = Vec::new();
        for weak in due {
            let Some(session) = weak.upgrade().filter(|session| !session.is_closed()) else {
                continue;
            };
            match session.next_look(now) {
                Ok(at) => later.push((at, weak)),
                Err(reason) => session.close(reason),
            }
        }
        self.put(now, later);
    }

    fn put(&self, now: u32, sessions: Vec<(u32, Weak<Session<S>>)>) -> bool {
        let mut slots = self.slots();
        let Some(slots) = &mut *slots else { return false };
        let last = now.saturating_add(self.common.timeouts.shortest().min(self.len - 2) + 1);
        for (at, session) in sessions {
            slots[(at.clamp(now + 1, last) % self.len) as usize].push(session);
        }
        true
    }

    fn close_all(&self) {
        let slots = self.slots().take();
        for session in slots.iter().flat_map(|slots| slots.iter().flatten()) {
            if let Some(session) = session.upgrade() {
                session.close(CloseReason::Shutdown);
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, Option<Slots<S>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64};

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::Metrics;

    const SESSIONS: usize = 200;
    /// 2 x 3 s.
    const SPAN: u32 = 60;

    fn wheel() -> Wheel<()> {
        let long = Duration::from_secs(60);
        Wheel::new(Arc::new(Common {
            metrics: Metrics::register(&mut Registry::default(), "toy"),
            outbox_max: 1,
            now: AtomicU32::new(0),
            timeouts: Timeouts::new(long, long, Some(3)),
            last_id: AtomicU64::new(0),
        }))
    }

    fn session(wheel: &Wheel<()>) -> Arc<Session<()>> {
        let pipe = chassis::Stream::Other(Box::new(tokio::io::duplex(1).0));
        let (common, peer) = (Arc::clone(&wheel.common), ([127, 0, 0, 1], 1).into());
        let session = Arc::new(Session::new(common, peer, pipe.into_split().1));
        session.open();
        session.set_busy(true);
        assert!(wheel.insert(&session));
        session
    }

    fn held(wheel: &Wheel<()>) -> usize {
        wheel.slots().iter().flat_map(|slots| slots.iter()).map(Vec::len).sum()
    }

    #[test]
    fn a_session_is_in_one_slot_and_is_looked_at_once_in_two_heartbeats() {
        let wheel = wheel();
        let sessions: Vec<_> = (0..SESSIONS).map(|_| session(&wheel)).collect();
        let (ticks, mut looks) = (10 * SPAN, 0);
        for tick in 0..ticks {
            // Each beats every 3 s or so, not all at once.
            for session in sessions.iter().skip(tick as usize % 29).step_by(29) {
                session.beat();
            }
            let next =
                wheel.slots().as_ref().map(|slots| slots[((tick + 1) % wheel.len) as usize].len());
            looks += next.expect("it runs");
            wheel.turn();
            assert_eq!(held(&wheel), SESSIONS);
        }
        assert!(sessions.iter().all(|session| !session.is_closed()));
        // From a beat that came half a span ago to the end of the span is half of it.
        let at_most = SESSIONS * (ticks / (SPAN / 2) + 1) as usize;
        assert!(looks <= at_most, "{looks} looks at {SESSIONS} sessions in {ticks} ticks");
    }

    #[test]
    fn who_is_silent_is_closed_and_who_is_gone_is_forgotten() {
        let wheel = wheel();
        let (silent, gone) = (session(&wheel), session(&wheel));
        drop(gone);
        for _ in 0..SPAN {
            wheel.turn();
            assert!(!silent.is_closed());
        }
        wheel.turn();
        assert_eq!(silent.close_reason(), Some(CloseReason::HeartbeatTimeout));
        assert_eq!(held(&wheel), 0);
        wheel.close_all();
        assert!(!wheel.insert(&silent));
    }
}
