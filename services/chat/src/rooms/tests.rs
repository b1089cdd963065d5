//! What happens while a claim, a read or an append is under way, and when it fails.

use std::cell::RefCell;

use bytes::Bytes;
use chassis::World;
use futures::{FutureExt, StreamExt};
use model::{ConnectorId, Epoch, Gen, Identity, Seq, SessionId, ShardId, Term, UserName};
use prometheus_client::registry::Registry;
use room::{Join, Newcomer, Origin, Place, Publish, Rejoin, Target};
use rpc::chat::v1::{event, reply};
use store::{
    Append, Appended, Claim, Claimed, Found, Head, Memory, MemoryLimits, Page, Range, Superseded,
};
use tokio::sync::Semaphore;

use super::*;
use crate::{content::ContentRules, outbox::Responses};

/// A memory store that fails and waits when it is told to.
#[derive(Debug)]
struct Faulty {
    inner: Memory,
    fails: Mutex<Option<store::StoreError>>,
    releases: Semaphore,
}

impl Faulty {
    fn may(&self) -> Result<(), store::StoreError> {
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[tonic::async_trait]
impl Store for Faulty {
    fn is_volatile(&self) -> bool {
        true
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, store::StoreError> {
        self.may()?;
        self.inner.claim(claims).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, store::StoreError> {
        self.may()?;
        self.inner.append(appends).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, store::StoreError> {
        self.inner.heads(rooms).await
    }

    async fn read(&self, id: &RoomId, at: Range, n: usize) -> Result<Page, store::StoreError> {
        self.may()?;
        self.inner.read(id, at, n).await
    }

    async fn find(
        &self,
        id: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, store::StoreError> {
        self.inner.find(id, author, cmid).await
    }

    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, store::StoreError> {
        self.may()?;
        self.inner.superseded(shard).await
    }

    async fn redact(&self, id: &RoomId, seq: Seq) -> Result<bool, store::StoreError> {
        self.may()?;
        self.inner.redact(id, seq).await
    }

    async fn release(&self, id: &RoomId) {
        self.releases.acquire().await.unwrap().forget();
        self.inner.release(id).await;
    }
}

struct Stage {
    rooms: Rooms,
    store: Arc<Faulty>,
    to_claim: mpsc::Receiver<RoomId>,
    link: Arc<Outbox>,
    events: RefCell<Responses>,
    _view: watch::Sender<View>,
}

impl Stage {
    fn new() -> Self {
        let app = App::detached(World::real());
        let limits = MemoryLimits { entries_max: 100 };
        let store = Arc::new(Faulty {
            inner: Memory::new(limits, || 5, || 7),
            fails: Mutex::default(),
            releases: Semaphore::new(0),
        });
        let limits = Limits { members_max: 10, pending_max: 10, ring_max: 1, grace_ms: 100 };
        let me = Shard { id: "chat-0".parse().unwrap(), addr: "here:1".into() };
        let view = watch::Sender::new(View::new([me.clone()]));
        let metrics = Metrics::register(&mut Registry::default());
        let content = ContentRules::new(100, metrics.masked.clone());
        let (rooms, to_claim) = Rooms::new(
            me,
            limits,
            content,
            Arc::clone(&store) as _,
            view.subscribe(),
            metrics,
            &app,
        );
        let link = rooms.open_link(connector("a"), 1 << 20);
        let events = RefCell::new(Responses(Arc::clone(&link)));
        Self { rooms, store, to_claim, link, events, _view: view }
    }

    fn submit(&self, input: Input) {
        self.rooms.submit(&room(), Command { input, seen: Fence::default(), redirected: false });
    }

    fn join(&self, request_id: u64, session: u64) -> Input {
        let name = UserName::parse(&format!("user {session}")).unwrap();
        let identity = Identity([u8::try_from(session).unwrap(); 16]);
        let newcomer = Newcomer { session: SessionId(session), name, identity, has_secret: false };
        let (link, connector) = (self.link.link, self.link.connector.clone());
        Input::Join(Join {
            link,
            connector,
            request_id,
            newcomer,
            resume: None,
            knows_roster: false,
        })
    }

    /// Brings the first session back, which has heard all up to its coming.
    fn rejoin(&self, request_id: u64) -> Input {
        let Input::Join(join) = self.join(request_id, 1) else { unreachable!() };
        let Join { link, connector, newcomer, .. } = join;
        let mark = Position { epoch: Epoch(7), seq: Seq(1) };
        let members = vec![(newcomer, None)];
        Input::Rejoin(Rejoin { link, connector, request_id, mark, members, replay: None })
    }

    fn leave(&self, request_id: u64) -> Input {
        Input::Leave { link: self.link.link, request_id, session: SessionId(1), away_at_ms: None }
    }

    fn say(&self, request_id: u64, content: &str) -> Input {
        let origin = Origin::Session { link: self.link.link, session: SessionId(1), request_id };
        let digest = model::message_digest("*", content);
        let cmid = Bytes::copy_from_slice(content.as_bytes());
        let target = Target::All;
        Input::Publish(Publish { origin, target, content: content.into(), cmid, digest })
    }

    fn add(&self, ticket: u64) -> Input {
        let (name, identity) = (UserName::parse("bot").unwrap(), Identity([0; 16]));
        Input::Add { ticket, name, identity }
    }

    /// Does what is to be claimed, as the task of it does.
    async fn claim(&mut self) -> Fence {
        let id = self.to_claim.recv().now_or_never().flatten().expect("something to claim");
        let seen = self.rooms.begin_claim(&id).expect("somebody waits for it");
        let claim = Claim { room: id.clone(), shard: self.rooms.0.me.id.clone(), seen };
        let claimed = self.store.claim(&[claim]).await.unwrap().remove(0);
        let fence = Fence { r#gen: claimed.r#gen, term: claimed.term };
        self.rooms.open(&id, Room::new(id.clone(), claimed.epoch, fence, self.rooms.0.limits));
        fence
    }

    /// Does what is to be appended, as the task of it does.
    async fn append(&self) {
        // The task goes on when nothing is left to do.
        let append = crate::writer::run(self.rooms.clone());
        let _ = tokio::time::timeout(std::time::Duration::from_millis(1), append).await;
    }

    /// What was sent over the link and not read yet.
    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(Some(Ok(response))) = self.events.borrow_mut().next().now_or_never() {
            told.extend(response.events.iter().map(|event| text(event.event.as_ref().unwrap())));
        }
        told
    }
}

fn room() -> RoomId {
    RoomId::parse("r").unwrap()
}

fn connector(id: &str) -> ConnectorId {
    id.parse().unwrap()
}

fn text(event: &event::Event) -> String {
    let event::Event::Reply(reply) = event else {
        let text = format!("{event:?}");
        return text.split('(').next().unwrap().to_owned();
    };
    let what = match reply.result.as_ref().unwrap() {
        reply::Result::Refused(refused) => format!("{:?}", refused.reason()),
        reply::Result::Rejoined(rejoined) => format!("Rejoined {}", rejoined.entries.len()),
        other => format!("{other:?}").split('(').next().unwrap().to_owned(),
    };
    format!("#{} {what}", reply.request_id)
}

#[tokio::test]
async fn a_link_that_ends_while_its_command_waits_leaves_nobody_behind() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    stage.rooms.close_link(&stage.link);
    stage.claim().await;
    let in_grace = |room: &Room| {
        let until = |place: &Place| match place {
            Place::Grace { until_ms, .. } => Some(*until_ms),
            _ => None,
        };
        room.members().map(|member| until(&member.place)).collect::<Vec<_>>()
    };
    let until = stage.rooms.read(&room(), in_grace).unwrap();
    assert!(matches!(until[..], [Some(ms)] if ms >= 100), "{until:?}");
    stage.rooms.apply_open(&room(), Input::Tick { now_ms: until[0].unwrap() });
    assert_eq!(stage.rooms.read(&room(), Room::is_empty), Some(true));
}

#[tokio::test]
async fn what_a_lost_link_brings_late_does_not_take_sessions_from_the_next() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    stage.claim().await;
    // It is still being answered when the next link is there.
    let late = stage.rejoin(2);
    stage.link = stage.rooms.open_link(connector("a"), 1 << 20);
    stage.submit(stage.rejoin(2));
    stage.submit(late);
    let link = stage.link.link;
    let behind = |room: &Room| room.sessions(link).collect::<Vec<_>>();
    assert_eq!(stage.rooms.read(&room(), behind), Some(vec![SessionId(1)]));
}

#[tokio::test]
async fn whoever_waits_for_a_claim_that_fails_is_answered() {
    let stage = Stage::new();
    let (ticket, added) = stage.rooms.ticket();
    stage.submit(stage.join(1, 1));
    stage.submit(stage.say(2, "hi"));
    stage.submit(stage.leave(3));
    stage.submit(stage.add(ticket));
    stage.rooms.claim_failed(&room());
    assert_eq!(stage.told(), ["#1 Unavailable", "#2 Unavailable", "#3 Gone"]);
    assert_eq!(added.await.unwrap(), Err(Refusal::Unavailable));
}

#[tokio::test]
async fn whoever_waits_for_a_claim_when_the_shard_ends_is_sent_away() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    let id = stage.to_claim.recv().await.unwrap();
    stage.rooms.begin_claim(&id).unwrap();
    stage.rooms.hand_over();
    assert_eq!(stage.told(), [""; 0]);
    let fence = Fence { r#gen: Gen(9), term: Term(1) };
    stage.rooms.open(&id, Room::new(room(), Epoch(1), fence, stage.rooms.0.limits));
    // There is nobody else to go to.
    assert_eq!(stage.told(), ["#1 Unavailable"]);
    assert!(stage.rooms.read(&room(), |_| ()).is_none());
    // Nothing is claimed any more, not even for whoever was sent here.
    let input = stage.join(2, 2);
    stage.rooms.submit(&room(), Command { input, seen: Fence::default(), redirected: true });
    assert!(stage.to_claim.try_recv().is_err());
    assert_eq!(stage.told(), ["#2 Unavailable"]);
}

#[tokio::test]
async fn whoever_waits_for_a_claim_that_has_not_begun_when_the_shard_ends_is_sent_away_at_once() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    let id = stage.to_claim.recv().await.unwrap();
    stage.rooms.hand_over();
    assert_eq!(stage.told(), ["#1 Unavailable"]);
    assert!(stage.rooms.begin_claim(&id).is_none());
}

#[tokio::test]
async fn a_claim_that_is_below_what_somebody_has_seen_is_made_again() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    let seen = Fence { r#gen: Gen(1_000_000), term: Term(4) };
    // It comes while the first claim is on its way.
    let low = Fence { r#gen: Gen(9), term: Term(1) };
    let command = Command { input: stage.join(2, 2), seen, redirected: false };
    stage.rooms.submit(&room(), command);
    let early = Room::new(room(), Epoch(1), low, stage.rooms.0.limits);
    stage.to_claim.recv().await.unwrap();
    stage.rooms.open(&room(), early);
    assert_eq!(stage.told(), [""; 0]);
    assert!(stage.claim().await > seen);
    assert_eq!(stage.told(), ["#1 Joined", "Presence", "#2 Joined", "Presence"]);
}

#[tokio::test]
async fn whoever_comes_while_a_room_is_unloaded_gets_a_new_log() {
    let mut stage = Stage::new();
    stage.submit(stage.add(0));
    stage.claim().await;
    stage.rooms.unload(&room()).now_or_never().expect("somebody is in: it stays");
    let first = stage.rooms.read(&room(), Room::head).unwrap();
    let kick = Input::Kick { name: UserName::parse("bot").unwrap(), reason: String::new() };
    stage.rooms.apply_open(&room(), kick);

    let rooms = stage.rooms.clone();
    let mut unload = Box::pin(async move { rooms.unload(&room()).await });
    assert!((&mut unload).now_or_never().is_none(), "it waits for the store");
    stage.submit(stage.join(1, 1));
    assert_eq!(stage.told(), [""; 0]);
    assert!(stage.to_claim.try_recv().is_err(), "not before the old log is gone");
    stage.store.releases.add_permits(1);
    unload.await;
    stage.claim().await;
    assert_eq!(stage.told(), ["#1 Joined", "Presence"]);
    assert_eq!(stage.rooms.read(&room(), Room::head).unwrap().seq, first.seq);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_and_what_may_be_is_not_guessed() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    stage.claim().await;
    stage.told();
    let fail = |error| *stage.store.fails.lock().unwrap() = error;
    fail(Some(store::StoreError::Unreachable("down".into())));
    stage.submit(stage.say(2, "hi"));
    stage.append().await;
    assert_eq!(stage.told(), ["#2 Unavailable"]);
    fail(None);
    stage.submit(stage.say(3, "hi"));
    stage.append().await;
    assert_eq!(stage.told(), ["#3 Published", "Entry"]);
    fail(Some(store::StoreError::Unknown("cut".into())));
    stage.submit(stage.say(4, "ho"));
    stage.append().await;
    assert_eq!(stage.told(), ["#4 Moved", "Moved"]);
    assert!(stage.rooms.read(&room(), |_| ()).is_none(), "it has to be claimed again");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_gives_no_verdict() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    stage.claim().await;
    for n in 0..3 {
        stage.submit(stage.say(n + 2, &format!("{n}")));
        stage.append().await;
    }
    stage.told();
    let head = stage.rooms.read(&room(), Room::head).unwrap();
    let rejoin = |request_id| {
        let (link, connector) = (stage.link.link, stage.link.connector.clone());
        let mark = Position { seq: Seq(1), ..head };
        let members = Vec::new();
        Input::Rejoin(Rejoin { link, connector, request_id, mark, members, replay: None })
    };
    let read = async || {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    *stage.store.fails.lock().unwrap() = Some(store::StoreError::Unreachable("down".into()));
    stage.submit(rejoin(9));
    read().await;
    assert_eq!(stage.told(), ["#9 Unavailable"]);
    *stage.store.fails.lock().unwrap() = None;
    stage.submit(rejoin(10));
    read().await;
    assert_eq!(stage.told(), ["#10 Rejoined 3"]);
    // Given up in the meantime: it is claimed for whoever asked.
    stage.submit(rejoin(11));
    stage.rooms.apply_open(&room(), Input::Superseded);
    read().await;
    assert_eq!(stage.told(), [""; 0]);
    stage.claim().await;
    read().await;
    assert_eq!(stage.told(), ["#11 Rejoined 3"]);
}

#[tokio::test]
async fn an_append_that_ends_after_its_room_was_given_up_says_nothing_of_the_next() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    stage.claim().await;
    stage.submit(stage.say(2, "hi"));
    let (_, old, _) = stage.rooms.take_appends().remove(0);
    stage.rooms.apply_open(&room(), Input::Superseded);
    stage.submit(stage.join(3, 1));
    stage.claim().await;
    stage.submit(stage.say(4, "ho"));
    let (_, new, _) = stage.rooms.take_appends().remove(0);
    stage.told();
    stage.rooms.appended(&room(), old, room::AppendResult::Stored { at_ms: 1 });
    assert_eq!(stage.told(), [""; 0]);
    stage.rooms.appended(&room(), new, room::AppendResult::Stored { at_ms: 1 });
    assert_eq!(stage.told(), ["#4 Published", "Entry"]);
}

#[tokio::test]
async fn whoever_comes_back_waits_for_the_end_of_what_they_said_over_the_lost_link() {
    for (end, told) in [
        (room::AppendResult::Stored { at_ms: 1 }, ["#3 Rejoined 1", "#4 Gone"]),
        (room::AppendResult::Failed, ["#3 Rejoined 0", "#4 Gone"]),
    ] {
        let mut stage = Stage::new();
        stage.submit(stage.join(1, 1));
        stage.claim().await;
        stage.submit(stage.say(2, "hi"));
        let (_, fence, _) = stage.rooms.take_appends().remove(0);
        stage.link = stage.rooms.open_link(connector("a"), 1 << 20);
        stage.events = RefCell::new(Responses(Arc::clone(&stage.link)));
        stage.submit(stage.rejoin(3));
        stage.submit(stage.leave(4));
        assert_eq!(stage.told(), [""; 0]);
        stage.rooms.appended(&room(), fence, end);
        assert_eq!(stage.told(), told);
    }
}

#[tokio::test]
async fn what_a_lost_link_brings_while_the_log_is_read_is_waited_for() {
    let mut stage = Stage::new();
    stage.submit(stage.join(1, 1));
    stage.claim().await;
    for n in 0..3 {
        stage.submit(stage.say(n + 2, &format!("{n}")));
        stage.append().await;
    }
    let late = stage.say(5, "late");
    stage.link = stage.rooms.open_link(connector("a"), 1 << 20);
    stage.events = RefCell::new(Responses(Arc::clone(&stage.link)));
    stage.submit(stage.rejoin(6));
    stage.submit(late);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.told(), [""; 0]);
    stage.append().await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.told(), ["#6 Rejoined 4"]);
}

#[tokio::test]
async fn a_connector_has_one_link() {
    let stage = Stage::new();
    let other = stage.rooms.open_link(connector("b"), 1 << 20);
    // Those before have ended, though nobody has closed them yet.
    let mut links = vec![Arc::clone(&stage.link)];
    links.extend((0..8).map(|_| stage.rooms.open_link(connector("a"), 1 << 20)));
    let last = links.pop().unwrap();
    let ended = |link: &Arc<Outbox>| link.cut.is_cancelled();
    assert!(links.iter().all(ended) && !ended(&last) && !ended(&other));
}
