//! A log that several shards share, and that does what a test says.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use model::{Fence, Identity, RoomId, Seq, ShardId};
use store::{
    Append, Appended, Claim, Claimed, Found, Head, Memory, MemoryLimits, Page, Range, Store,
    StoreError, Superseded,
};
use tokio::{sync::watch, time::timeout};

use crate::PATIENCE;

/// What a log is asked to do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Call {
    Claim,
    Append,
    Heads,
    Read,
    Find,
    Superseded,
}

const CALLS: [Call; 6] =
    [Call::Claim, Call::Append, Call::Heads, Call::Read, Call::Find, Call::Superseded];

#[derive(Debug)]
pub(crate) struct Shared {
    inner: Arc<Memory>,
    /// Each call that is held, all or one of them: it has been done, but is not
    /// answered.
    held: watch::Sender<Vec<(Call, Option<usize>)>>,
    /// How many calls of each kind were done.
    done: watch::Sender<HashMap<Call, usize>>,
    /// Each call that fails, before anything is done.
    failing: Mutex<HashMap<Call, StoreError>>,
    /// The rooms of each read of heads.
    heads: Mutex<Vec<Vec<RoomId>>>,
    /// Tells nobody who was superseded.
    is_silent: AtomicBool,
    /// How the next appends end, of which nobody learns what became.
    unknown: Mutex<VecDeque<Fate>>,
    /// Appends that have not arrived yet.
    late: Mutex<Vec<Vec<Append>>>,
}

/// What becomes of an append without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Stored,
    Lost,
    /// It arrives when it is told to.
    Late,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Self::keeping(100_000)
    }

    /// One that keeps so many entries of each room.
    pub(crate) fn keeping(entries_max: usize) -> Arc<Self> {
        let next = AtomicU64::new(1);
        let random = move || next.fetch_add(1, Ordering::Relaxed);
        Self::over(Arc::new(Memory::new(MemoryLimits { entries_max }, || 1_000, random)))
    }

    /// The same log, by another way.
    pub(crate) fn beside(&self) -> Arc<Self> {
        Self::over(Arc::clone(&self.inner))
    }

    fn over(inner: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            is_silent: AtomicBool::new(false),
            unknown: Mutex::default(),
            late: Mutex::default(),
            held: watch::Sender::default(),
            done: watch::Sender::default(),
            failing: Mutex::default(),
            heads: Mutex::default(),
        })
    }

    /// Puts messages into a room that nobody serves, from entry 2 on.
    pub(crate) async fn fill(&self, room: &str, contents: &[&str]) {
        let (room, shard) = (RoomId::parse(room).unwrap(), "nobody".parse().unwrap());
        let claim = Claim { room: room.clone(), shard, seen: Fence::default() };
        let claimed = self.inner.claim(&[claim]).await.unwrap().remove(0);
        let append = store::conformance::append(&room, &claimed, Seq(1), contents);
        self.inner.append(&[append]).await.unwrap();
    }

    /// Answers no such call any more.
    pub(crate) fn hold(&self, call: Call) {
        self.held.send_modify(|held| held.push((call, None)));
    }

    /// Does not answer the next such call.
    pub(crate) fn hold_next(&self, call: Call) {
        let next = Some(self.count(call) + 1);
        self.held.send_modify(|held| held.push((call, next)));
    }

    /// Answers all that was held.
    pub(crate) fn let_go(&self) {
        self.held.send_modify(Vec::clear);
    }

    /// Lets all such calls fail, or none any more.
    pub(crate) fn fail(&self, call: Call, error: Option<StoreError>) {
        let mut failing = self.failing.lock().unwrap();
        match error {
            Some(error) => failing.insert(call, error),
            None => failing.remove(&call),
        };
    }

    /// Lets every call fail, or none any more.
    pub(crate) fn fail_all(&self, error: Option<&StoreError>) {
        CALLS.iter().for_each(|call| self.fail(*call, error.cloned()));
    }

    /// Does not tell who was superseded, as if it had been long ago.
    pub(crate) fn keep_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// Lets the next append end without an answer.
    pub(crate) fn cut(&self, fate: Fate) {
        self.unknown.lock().unwrap().push_back(fate);
    }

    /// Lets the late appends arrive, and gives how they end.
    pub(crate) async fn arrive(&self) -> Vec<Appended> {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        let mut ends = Vec::new();
        for appends in late {
            ends.extend(self.inner.append(&appends).await.unwrap());
        }
        ends
    }

    /// How many such calls were done so far.
    pub(crate) fn count(&self, call: Call) -> usize {
        self.done.borrow().get(&call).copied().unwrap_or(0)
    }

    /// Waits until so many such calls were done.
    pub(crate) async fn until(&self, call: Call, count: usize) {
        let mut done = self.done.subscribe();
        let there = done.wait_for(|done| done.get(&call).copied().unwrap_or(0) >= count);
        timeout(PATIENCE, there).await.expect("the call").unwrap();
    }

    /// The rooms of each read of heads so far.
    pub(crate) fn heads_read(&self) -> Vec<Vec<String>> {
        let name = |rooms: &Vec<RoomId>| rooms.iter().map(ToString::to_string).collect();
        self.heads.lock().unwrap().iter().map(name).collect()
    }

    async fn answer<T>(&self, call: Call, done: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut number = 0;
        self.done.send_modify(|done| {
            let count = done.entry(call).or_default();
            *count += 1;
            number = *count;
        });
        let mut held = self.held.subscribe();
        let is_free =
            |held: &Vec<_>| !held.contains(&(call, None)) && !held.contains(&(call, Some(number)));
        let _ = held.wait_for(is_free).await;
        done
    }

    fn may(&self, call: Call) -> Result<(), StoreError> {
        self.failing.lock().unwrap().get(&call).cloned().map_or(Ok(()), Err)
    }
}

#[tonic::async_trait]
impl Store for Shared {
    fn is_volatile(&self) -> bool {
        false
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.may(Call::Claim)?;
        let claimed = self.inner.claim(claims).await;
        self.answer(Call::Claim, claimed).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.may(Call::Append)?;
        let fate = self.unknown.lock().unwrap().pop_front();
        match fate {
            Some(Fate::Stored) => drop(self.inner.append(appends).await),
            Some(Fate::Late) => self.late.lock().unwrap().push(appends.to_vec()),
            Some(Fate::Lost) | None => {}
        }
        let appended = match fate {
            None => self.inner.append(appends).await,
            Some(_) => Err(StoreError::Unknown("cut off".into())),
        };
        self.answer(Call::Append, appended).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError> {
        self.may(Call::Heads)?;
        self.heads.lock().unwrap().push(rooms.to_vec());
        let heads = self.inner.heads(rooms).await;
        self.answer(Call::Heads, heads).await
    }

    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError> {
        self.may(Call::Read)?;
        let page = self.inner.read(room, range, limit).await;
        self.answer(Call::Read, page).await
    }

    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError> {
        self.may(Call::Find)?;
        let found = self.inner.find(room, author, cmid).await;
        self.answer(Call::Find, found).await
    }

    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, StoreError> {
        self.may(Call::Superseded)?;
        let mut claims = self.inner.superseded(shard).await?;
        if self.is_silent.load(Ordering::Relaxed) {
            claims.clear();
        }
        self.answer(Call::Superseded, Ok(claims)).await
    }

    async fn redact(&self, room: &RoomId, seq: Seq) -> Result<bool, StoreError> {
        self.inner.redact(room, seq).await
    }

    async fn release(&self, _: &RoomId) {}
}
