//! The store as one shard sees it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use model::{Identity, RoomId, Seq, ShardId};
use store::{
    Append, Appended, Claim, Claimed, Found, Head, Memory, Page, Range, Store, StoreError,
    Superseded,
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{Bug, Shared, Weather, bug};

/// How long a shard waits for an answer, as the stores do that are deployed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest way to the store, and back.
const WAY: Duration = Duration::from_millis(10);

/// One shard's way to the store.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    shared: Shared,
    shard: String,
    /// The heads that were read first, for a bug.
    known: Arc<Mutex<HashMap<RoomId, Head>>>,
}

/// What becomes of a statement.
enum Fate {
    /// It lands after some time, and is answered.
    Lands(Duration),
    /// It lands after some time, and nobody is told.
    Silently(Duration),
    /// It is lost, and nobody is told.
    Lost,
}

impl Handle {
    pub(super) fn new(shared: Shared, shard: String) -> Self {
        Self { shared, shard, known: Arc::default() }
    }

    fn weather(&self) -> Weather {
        self.shared.0.weather.borrow().get(&self.shard).copied().unwrap_or_default()
    }

    /// Waits as long as the shard stands still.
    async fn thawed(&self) {
        let mut weather = self.shared.0.weather.subscribe();
        let moves = weather.wait_for(|all| all.get(&self.shard) != Some(&Weather::Frozen));
        // The sender lives as long as the store.
        let _ = moves.await;
    }

    fn draw(&self, sides: u64) -> u64 {
        self.shared.0.rng.u64() % sides
    }

    fn has(&self, bug: Bug) -> bool {
        self.shared.0.bug == Some(bug)
    }

    async fn call<T: Send + 'static>(
        &self,
        writes: bool,
        op: impl FnOnce(&Memory) -> (Result<T, StoreError>, Vec<RoomId>) + Send + 'static,
    ) -> Result<T, StoreError> {
        self.thawed().await;
        let way = self.shared.0.rng.up_to(WAY);
        let unreachable = || Err(StoreError::Unreachable("the simulation says so".into()));
        let fate = match self.weather() {
            _ if self.shared.state().is_restored => {
                sleep(way).await;
                return Err(StoreError::Restored("the simulation says so".into()));
            }
            Weather::Unreachable => {
                // Refused at once, or never answered.
                let wait = if self.draw(2) == 0 { way } else { PATIENCE };
                sleep(wait).await;
                return unreachable();
            }
            Weather::ReadOnly if writes => {
                sleep(way).await;
                return unreachable();
            }
            Weather::Slow(time) => Fate::Lands(time),
            Weather::Mute => Fate::Silently(way),
            Weather::Odd if writes && self.draw(3) == 0 => match self.draw(4) {
                0 => Fate::Lost,
                1 => Fate::Silently(way),
                _ => Fate::Silently(Duration::from_millis(500 + self.draw(6000))),
            },
            _ => Fate::Lands(way),
        };
        let ended = self.carry_out(fate, writes, op).await;
        // Whoever stands still hears nothing.
        self.thawed().await;
        ended
    }

    async fn carry_out<T: Send + 'static>(
        &self,
        fate: Fate,
        writes: bool,
        op: impl FnOnce(&Memory) -> (Result<T, StoreError>, Vec<RoomId>) + Send + 'static,
    ) -> Result<T, StoreError> {
        let unknown = |why: &str| match writes {
            true => Err(StoreError::Unknown(why.into())),
            false => Err(StoreError::Unreachable(why.into())),
        };
        let (sender, answer) = oneshot::channel();
        let (latency, is_answered) = match fate {
            Fate::Lands(latency) => (latency, true),
            Fate::Silently(latency) => (latency, false),
            Fate::Lost => (Duration::ZERO, false),
        };
        if !matches!(fate, Fate::Lost) {
            let statement = move |log: &Memory| {
                let (ended, changed) = op(log);
                if is_answered {
                    // The shard may have given up, or may be gone.
                    let _ = sender.send(ended);
                }
                changed
            };
            self.shared.send(latency, Box::new(statement));
        }
        if !is_answered {
            // Either the connection breaks, or nothing comes.
            let wait = if self.draw(2) == 0 { WAY } else { PATIENCE };
            sleep(wait).await;
            return unknown("the answer was lost");
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(ended)) => {
                sleep(self.shared.0.rng.up_to(WAY)).await;
                ended
            }
            Ok(Err(_)) => unknown("the connection broke"),
            Err(_) => unknown("no answer in time"),
        }
    }
}

/// Takes what a log in memory says at once.
pub(super) fn at_once<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    call.now_or_never().expect("it does not wait")
}

#[async_trait]
impl Store for Handle {
    fn is_volatile(&self) -> bool {
        false
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let claims = claims.to_vec();
        let rooms: Vec<RoomId> = claims.iter().map(|claim| claim.room.clone()).collect();
        let ended = self.call(true, move |log| (at_once(log.claim(&claims)), rooms)).await?;
        if self.has(Bug::KeepsOwners) {
            // What is claimed anew is known anew.
            self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        Ok(ended)
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let (appends, rooms) = (appends.to_vec(), bug::rooms(appends));
        let Some(bug) = self.shared.0.bug else {
            return self.call(true, move |log| (at_once(log.append(&appends)), rooms)).await;
        };
        if bug == Bug::AnswersEarly {
            let ended = vec![Appended::Stored { at_ms: 1 }; appends.len()];
            let statement = move |log: &Memory| {
                // It is too late to say what became of it.
                let _ = at_once(log.append(&appends));
                rooms
            };
            self.shared.send(WAY, Box::new(statement));
            return Ok(ended);
        }
        let rng = self.shared.0.rng.clone();
        self.call(true, move |log| (bug.append(log, appends, &rng), rooms)).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError> {
        let ids = rooms.to_vec();
        let heads = self.call(false, move |log| (at_once(log.heads(&ids)), Vec::new())).await?;
        if !self.has(Bug::KeepsOwners) {
            return Ok(heads);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let first = |(room, head): (&RoomId, Option<Head>)| {
            known.get(room).copied().or_else(|| {
                head.inspect(|head| {
                    known.insert(room.clone(), *head);
                })
            })
        };
        Ok(rooms.iter().zip(heads).map(first).collect())
    }

    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, StoreError> {
        let shard = shard.clone();
        if self.has(Bug::KeepsOwners) {
            return Ok(Vec::new());
        }
        self.call(false, move |log| (at_once(log.superseded(&shard)), Vec::new())).await
    }

    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError> {
        let room = room.clone();
        let page =
            self.call(false, move |log| (at_once(log.read(&room, range, limit)), Vec::new()));
        let page = page.await?;
        Ok(match self.shared.0.bug {
            Some(bug) => bug.page(page, &self.shared.0.rng),
            None => page,
        })
    }

    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError> {
        let (room, cmid) = (room.clone(), cmid.clone());
        self.call(false, move |log| (at_once(log.find(&room, author, &cmid)), Vec::new())).await
    }

    async fn redact(&self, room: &RoomId, seq: Seq) -> Result<bool, StoreError> {
        let room = room.clone();
        self.call(true, move |log| (at_once(log.redact(&room, seq)), Vec::new())).await
    }

    async fn release(&self, _: &RoomId) {}
}
