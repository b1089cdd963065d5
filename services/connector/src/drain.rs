//! Sends all clients to other connectors, at an even pace.
//!
//! ```text
//! asked ─▶ not ready, announced ─▶ accept grace ─▶ no more clients ─▶ pace ─▶ links idle
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use bytes::BytesMut;
use chassis::{Clock, Hold, Stopper};
use frontend::{CloseReason, Outgoing};
use rpc::{Health, connector::v1::connector_service_server::ConnectorServiceServer};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::{PushRoute, route};

use crate::{api::Api, handler::Session, hub::Hub, metrics::KindLabel};

/// How often clients are sent away.
const TICK: Duration = Duration::from_millis(100);
/// Clients come back within this time, each at a time of its own. Shorter than the
/// grace period of the shards.
const RETURN_WITHIN: Duration = Duration::from_secs(5);
/// How long one may go on to ask whose turn has come and who has no answer yet.
const MAY_ASK: Duration = Duration::from_secs(1);
/// How long the shards may take to hear who was sent away.
const LINKS_PATIENCE: Duration = Duration::from_secs(2);
/// What plain clients are told. Our page knows it by the first word.
const REASON: &str = "draining: ask the gate for another connector";

/// Asks for a drain that does not end the process. Clones are for the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByHand(Arc<(CancellationToken, OnceLock<Duration>)>);

impl ByHand {
    /// Begins the drain, if it has not begun; `time` counts if it is the first.
    pub(crate) fn begin(&self, time: Option<Duration>) {
        let (asked, first) = &*self.0;
        if let Some(time) = time.filter(|_| !asked.is_cancelled()) {
            // Somebody may have been faster.
            let _ = first.set(time);
        }
        asked.cancel();
    }
}

/// All that a drain has in hand.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) hub: Hub,
    pub(crate) by_hand: ByHand,
    pub(crate) accept_grace: Duration,
    /// Over how long clients are sent away.
    pub(crate) time: Duration,
    /// How long a request may wait for its answer.
    pub(crate) request_timeout: Duration,
    pub(crate) stopper: Stopper,
    pub(crate) stopping: CancellationToken,
    /// Closes the door.
    pub(crate) closing: CancellationToken,
    /// Without it links and clients end with the process.
    pub(crate) hold: Hold,
}

impl Drain {
    /// Waits until it is asked for, and does it. Dropped when all has to end.
    pub(crate) async fn run(mut self, health: Health) {
        let (by_hand, time) = &*self.by_hand.0;
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {}
            () = by_hand.cancelled() => tracing::info!("draining, as an operator asked"),
        }
        let configured = self.time;
        self.time = time.get().copied().unwrap_or(configured);
        let (clock, began) = (self.hub.clock(), self.hub.clock().now());
        self.stopper.end_readiness();
        self.hub.begin_drain();
        health.set::<ConnectorServiceServer<Api>>(false).await;
        clock.sleep(self.accept_grace).await;
        self.closing.cancel();
        // Without time to lose the shutdown closes all at once.
        if !(self.time.is_zero() && self.stopping.is_cancelled()) {
            let sessions = self.hub.with_sessions(BTreeMap::len);
            tracing::info!(sessions, time_ms = self.time.as_millis(), "sending clients away");
            let crowd = Clients { hub: &self.hub, began, patience: self.request_timeout };
            let end =
                End { at: clock.now() + self.time, hurry: (self.stopping.clone(), configured) };
            pace(clock, end, self.request_timeout, &crowd).await;
            self.hub.end_drain();
            crowd.waiting().iter().for_each(|late| self.hub.send_away(late));
            self.let_links_idle(clock).await;
            tracing::info!(time_ms = (clock.now() - began).as_millis(), "drained");
        }
        self.hub.end_drain();
        drop(self.hold);
    }

    /// Waits until the shards know of everybody that they are gone, and have answered
    /// all.
    async fn let_links_idle(&self, clock: Clock) {
        let deadline = clock.now() + LINKS_PATIENCE;
        while self.hub.metrics().rooms.get() > 0 && clock.now() < deadline {
            clock.sleep(TICK / 10).await;
        }
    }
}

/// Those who are sent away.
trait Crowd {
    type One;

    /// How many are left.
    fn left(&self) -> usize;

    /// All who are left and whose turn has not come, those first who miss least.
    fn waiting(&self) -> Vec<Self::One>;

    /// Sends one away whose turn came `since` then.
    fn send(&self, one: &Self::One, since: Duration) -> Sent;

    /// Time goes by.
    fn tick(&self) {}
}

/// What became of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sent {
    /// It was gone.
    Gone,
    /// It is about to go.
    Away,
    /// It waits for answers; to be sent again.
    Waits,
}

/// How many of `left` are sent now, so that the last one's turn comes with the last tick.
fn share(left: usize, time_left: Duration) -> usize {
    let ticks = time_left.as_millis().div_ceil(TICK.as_millis());
    left.div_ceil(usize::try_from(ticks).unwrap_or(usize::MAX).max(1))
}

/// When all have to have been sent away.
#[derive(Debug)]
struct End {
    at: Instant,
    /// Once this has fired, it is no later than so long after that.
    hurry: (CancellationToken, Duration),
}

impl End {
    /// When it is, as is known now.
    fn known(&mut self, now: Instant) -> Instant {
        if self.hurry.0.is_cancelled() {
            self.at = self.at.min(now + self.hurry.1);
        }
        self.at
    }
}

/// Sends all away until the end, and those who wait for answers up to `patience` later.
async fn pace<C: Crowd>(clock: Clock, mut end: End, patience: Duration, crowd: &C) {
    let mut queue = VecDeque::new();
    // With the time when their turn came.
    let mut waits: Vec<(Instant, C::One)> = Vec::new();
    while crowd.left() > 0 {
        let now = clock.now();
        let deadline = end.known(now);
        waits.retain(|(since, one)| crowd.send(one, now - *since) == Sent::Waits);
        let mut turns = share(
            crowd.left().saturating_sub(waits.len()),
            deadline.saturating_duration_since(now),
        );
        if queue.is_empty() && turns > 0 {
            queue.extend(crowd.waiting());
        }
        while turns > 0
            && let Some(one) = queue.pop_front()
        {
            match crowd.send(&one, Duration::ZERO) {
                Sent::Gone => continue,
                Sent::Away => {}
                Sent::Waits => waits.push((now, one)),
            }
            turns -= 1;
        }
        crowd.tick();
        // They have been told all that they will be.
        if now >= deadline + patience + TICK * 10 {
            return;
        }
        clock.sleep(TICK).await;
    }
}

/// The clients of this connector.
struct Clients<'a> {
    hub: &'a Hub,
    began: Instant,
    /// All requests are answered within this time.
    patience: Duration,
}

impl Crowd for Clients<'_> {
    type One = Arc<Session>;

    fn left(&self) -> usize {
        self.hub.with_sessions(BTreeMap::len)
    }

    fn waiting(&self) -> Vec<Arc<Session>> {
        let has_no_turn = |s: &&Arc<Session>| !s.state().is_due.load(Ordering::Relaxed);
        let all: Vec<_> =
            self.hub.with_sessions(|all| all.values().filter(has_no_turn).cloned().collect());
        let (inside, mut outside): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|session| session.state().place().seat().is_some());
        outside.extend(inside);
        outside
    }

    fn send(&self, session: &Arc<Session>, since: Duration) -> Sent {
        if session.is_closed() {
            return Sent::Gone;
        }
        let client = session.state();
        client.is_due.store(true, Ordering::Relaxed);
        let has_answers = || {
            !client.is_asking.load(Ordering::SeqCst)
                && client.unanswered.load(Ordering::SeqCst) == 0
        };
        if has_answers() || since >= MAY_ASK {
            // From now on it asks for nothing, so this is for good.
            client.is_leaving.store(true, Ordering::SeqCst);
            if has_answers() || since > self.patience {
                self.hub.send_away(session);
                return Sent::Away;
            }
            client.is_leaving.store(since >= MAY_ASK, Ordering::SeqCst);
        }
        Sent::Waits
    }

    fn tick(&self) {
        let seconds = (self.hub.clock().now() - self.began).as_secs_f64();
        self.hub.metrics().drain_seconds.set(seconds);
    }
}

impl Hub {
    /// Tells a client to come back through another connector, and closes its session.
    pub(crate) fn send_away(&self, session: &Session) {
        let is_extended = session.state().is_extended();
        if is_extended {
            session.send(&reconnect(self.rng().up_to(RETURN_WITHIN)));
            session.close(CloseReason::SentAway);
        } else {
            session.kick_as(REASON, CloseReason::Draining);
        }
        let kind = if is_extended { "extended" } else { "plain" };
        self.metrics().drained_sessions.get_or_create(&KindLabel { kind }).inc();
    }
}

/// Tells an extended session to come back after `delay`, and where.
fn reconnect(delay: Duration) -> Outgoing {
    let delay = u64::try_from(delay.as_millis()).expect("a few seconds");
    let body = wire::to_json(&json!({ "delay": delay, "place": "gate" }));
    let mut package = BytesMut::new();
    wire::encode_push(PushRoute::Name(route::ON_RECONNECT), &body, &mut package)
        .expect("it is short");
    Outgoing::package(&package)
}

#[cfg(test)]
mod tests;
