//! Keeps one link open to every shard that this connector knows of.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chassis::{Net, Policy, Tasks};
use cluster::{Backoff, Jitter, Shard, View};
use model::{RoomId, ShardId};
use rpc::chat::v1::LinkResponse;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::Instrument;

use crate::{
    hub::Hub,
    link::{Link, LinkError, Opener},
    metrics::ReasonLabel,
    room::Detached,
};

/// A handle; clones share the links.
#[derive(Clone, Debug)]
pub(crate) struct Links(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    opener: Opener,
    net: Net,
    tasks: Tasks,
    shutdown: CancellationToken,
    view: watch::Receiver<View>,
    slots: Mutex<BTreeMap<ShardId, Slot>>,
}

#[derive(Debug)]
struct Slot {
    shard: Shard,
    up: Option<Arc<Link>>,
    /// When somebody last wanted it.
    asked: Instant,
    /// True once this address was tried in vain, or its link was lost.
    is_doubtful: bool,
    stop: CancellationToken,
}

/// How long a shard that is not in the view is tried after somebody wanted it.
const WANTED_FOR: Duration = Duration::from_secs(2);

impl Links {
    pub(crate) fn new(
        opener: Opener,
        net: Net,
        tasks: Tasks,
        shutdown: CancellationToken,
        view: watch::Receiver<View>,
    ) -> Self {
        Self(Arc::new(Inner { opener, net, tasks, shutdown, view, slots: Mutex::default() }))
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.0.opener.hub
    }

    /// The shards that this connector sees as ready.
    pub(crate) fn view(&self) -> View {
        self.0.view.borrow().clone()
    }

    /// The link to a shard, if it is up; starts one if there is none. Where a shard is, the
    /// view says. Of a shard that is not in it others may say different things: the first
    /// of them that works counts, lest one ends the link that another one asked for.
    pub(crate) fn get(&self, shard: &Shard) -> Option<Arc<Link>> {
        let asked = self.hub().clock().now();
        let mut slots = self.0.slots.lock().expect("links");
        if let Some(slot) = slots.get_mut(&shard.id) {
            let is_seen = self.0.view.borrow().get(&shard.id).is_some();
            if slot.shard.addr == shard.addr || !(is_seen || slot.is_doubtful) {
                slot.asked = asked;
                return slot.up.clone().filter(|link| !link.upstream.has_ended());
            }
            // The shard is elsewhere now.
            slot.stop.cancel();
        }
        let stop = self.0.shutdown.child_token();
        let slot =
            Slot { shard: shard.clone(), up: None, asked, is_doubtful: false, stop: stop.clone() };
        slots.insert(shard.id.clone(), slot);
        drop(slots);
        let (links, shard) = (self.clone(), shard.clone());
        let span = tracing::info_span!("link", shard_id = %shard.id);
        self.0.tasks.spawn(
            "link",
            Policy::Session,
            async move { links.keep(shard, stop).await }.instrument(span),
        );
        None
    }

    /// All links that are up.
    pub(crate) fn up(&self) -> Vec<Arc<Link>> {
        let slots = self.0.slots.lock().expect("links");
        let up = slots.values().filter_map(|slot| slot.up.clone());
        up.filter(|link| !link.upstream.has_ended()).collect()
    }

    /// Opens links to whoever is in the view, until it is dropped.
    pub(crate) async fn follow_view(self) {
        let mut view = self.0.view.clone();
        loop {
            let now = view.borrow_and_update().clone();
            for shard in now.shards() {
                self.get(shard);
            }
            self.drop_unseen(&now);
            self.bring_home();
            self.hub().reroute();
            if view.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stops trying to reach shards that are not in the view and not linked.
    fn drop_unseen(&self, view: &View) {
        self.0.slots.lock().expect("links").retain(|id, slot| {
            let wanted = slot.up.is_some() || view.get(id).is_some();
            if !wanted {
                slot.stop.cancel();
            }
            wanted
        });
    }

    /// Opens a link again and again until it is told to stop.
    async fn keep(&self, shard: Shard, stop: CancellationToken) {
        let rng = self.hub().rng().clone();
        let jitter: Jitter = Arc::new(move |max| rng.up_to(max));
        let mut backoff = Backoff::new(jitter);
        while !stop.is_cancelled() {
            let ended = self.live(&shard, &stop, &mut backoff).await;
            self.doubt(&shard);
            tracing::debug!(reason = ended.reason(), error = chassis::chain(&ended), "no link");
            self.hub()
                .metrics()
                .links_ended
                .get_or_create(&ReasonLabel { reason: ended.reason() })
                .inc();
            if self.0.view.borrow().get(&shard.id).is_none() && self.drop_unwanted(&shard) {
                return;
            }
            let wait: Duration = backoff.wait();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.hub().clock().sleep(wait) => {}
            }
        }
    }

    fn doubt(&self, shard: &Shard) {
        let mut slots = self.0.slots.lock().expect("links");
        if let Some(slot) = slots.get_mut(&shard.id).filter(|slot| slot.shard == *shard) {
            slot.is_doubtful = true;
        }
    }

    /// Forgets a shard that nobody sees or wants any more; whoever names it again
    /// gets a new link. False if somebody has wanted it lately.
    fn drop_unwanted(&self, shard: &Shard) -> bool {
        let now = self.hub().clock().now();
        let mut slots = self.0.slots.lock().expect("links");
        match slots.get(&shard.id) {
            Some(slot) if slot.shard == *shard && now - slot.asked < WANTED_FOR => false,
            Some(slot) if slot.shard == *shard => slots.remove(&shard.id).is_some(),
            _ => true,
        }
    }

    /// The link to the owner of a room by the view, if rooms can be taken there.
    pub(crate) fn home(&self, room: &RoomId) -> Option<Arc<Link>> {
        self.get(self.view().owner(room)?).filter(|link| link.takes_rooms())
    }

    /// Takes rooms that are at a shard only because their owner could not be
    /// reached to that owner, now that it can be.
    fn bring_home(&self) {
        let up = self.up();
        let strays = |link: &Arc<Link>| {
            let link = Arc::clone(link);
            link.strays().into_iter().map(move |room| (Arc::clone(&link), room))
        };
        for (link, room) in up.iter().flat_map(strays) {
            let is_home = self.home(&room.id).is_none_or(|home| Arc::ptr_eq(&home, &link));
            let mut state = room.state();
            // Where another shard sent it, it stays.
            if !is_home && state.is_on(&link) && state.redirect.is_none() {
                link.forget(&room.id);
                self.hub().detach(&mut state, Duration::ZERO, Detached::OwnerBack);
                state.lost = None;
                drop(state);
                self.hub().want(&room);
                self.hub().tidy(&room);
            }
        }
    }

    /// One link, from the first packet to its end.
    async fn live(
        &self,
        shard: &Shard,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> LinkError {
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return LinkError::Stopped,
            opened = self.open(shard) => opened,
        };
        let (link, events) = match opened {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        backoff.reset();
        self.came_up(shard, &link);
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => LinkError::Stopped,
            ended = self.0.opener.serve(&link, events) => ended,
        };
        tracing::info!(reason = ended.reason(), error = chassis::chain(&ended), "link lost");
        self.down(shard, &link);
        ended
    }

    async fn open(&self, shard: &Shard) -> Result<(Arc<Link>, Streaming<LinkResponse>), LinkError> {
        let channel = self.0.net.channel(&shard.addr).await?;
        self.0.opener.open(shard, channel).await
    }

    /// From now on rooms may be taken to a link.
    fn came_up(&self, shard: &Shard, link: &Arc<Link>) {
        tracing::info!("link up");
        self.hub().metrics().links.inc();
        let mut slots = self.0.slots.lock().expect("links");
        // The shard may be elsewhere by now: then this link was told to stop.
        if let Some(slot) = slots.get_mut(&shard.id).filter(|slot| slot.shard == *shard) {
            slot.up = Some(Arc::clone(link));
            slot.is_doubtful = false;
        }
        drop(slots);
        self.bring_home();
        self.hub().reroute();
    }

    /// Takes the rooms off a link that is over.
    fn down(&self, shard: &Shard, link: &Arc<Link>) {
        if let Some(slot) = self.0.slots.lock().expect("links").get_mut(&shard.id)
            && slot.up.as_ref().is_some_and(|up| Arc::ptr_eq(up, link))
        {
            slot.up = None;
        }
        link.upstream.end();
        self.hub().metrics().links.dec();
        for room in link.rooms() {
            let mut state = room.state();
            if state.is_on(link) {
                self.hub().detach(&mut state, Duration::ZERO, Detached::LinkLost);
                state.redirect = None;
                state.lost = Some(shard.id.clone());
                drop(state);
                self.hub().want(&room);
                self.hub().tidy(&room);
            }
        }
        self.hub().reroute();
    }
}
