//! The room itself.

use std::collections::BTreeMap;

use model::{
    Epoch, Fence, Grant, Identity, LinkId, Position, RoomDigest, RoomId, Seq, SessionId, UserName,
};

use crate::{
    Append, AppendResult, Effect, Entry, Event, Input, Join, Kind, Member, NewEntry, Newcomer,
    Origin, Outcome, Place, Publish, Refusal, Target,
    log::{Draft, Log},
    roster::Roster,
};

/// Bounds of one room.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names that it may hold; more are refused with [`Refusal::RoomFull`].
    pub members_max: usize,
    /// Messages that may wait to be stored; more are refused with [`Refusal::Overloaded`].
    pub pending_max: usize,
    /// Newest entries that it remembers, for re-joins.
    pub ring_max: usize,
    /// How long a name is kept after its link was lost, in milliseconds.
    pub grace_ms: u64,
}

/// A room. See the crate's documentation.
#[derive(Debug)]
pub struct Room {
    pub(crate) id: RoomId,
    pub(crate) epoch: Epoch,
    pub(crate) fence: Fence,
    pub(crate) limits: Limits,
    pub(crate) roster: Roster,
    pub(crate) log: Log,
    /// What each attached link knows of this room.
    pub(crate) links: BTreeMap<LinkId, RoomDigest>,
    /// Counts admissions.
    pub(crate) grants: u64,
    releasing: bool,
}

impl Room {
    /// A room that was just claimed: nobody is in it, and its newest entry is the
    /// claim itself, number `fence.term`.
    #[must_use]
    pub fn new(id: RoomId, epoch: Epoch, fence: Fence, limits: Limits) -> Self {
        let log = Log::new(fence.term, Seq(fence.term.0), limits.ring_max, limits.pending_max);
        Self {
            id,
            epoch,
            fence,
            limits,
            roster: Roster::default(),
            log,
            links: BTreeMap::new(),
            grants: 0,
            releasing: false,
        }
    }

    /// Who serves it.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Its newest stored entry.
    #[must_use]
    pub fn head(&self) -> Position {
        Position { epoch: self.epoch, seq: self.log.head }
    }

    /// Names in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roster.len()
    }

    /// True if nobody is in it and nothing waits: the shell may unload it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roster.len() == 0 && self.log.is_idle()
    }

    /// True if it wants [`Input::Tick`].
    #[must_use]
    pub fn wants_tick(&self) -> bool {
        self.roster.has_grace()
    }

    /// Its members, in the order that clients are told.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.roster.iter()
    }

    /// What a link should know of the room, if it has members here.
    #[must_use]
    pub fn digest(&self, link: LinkId) -> Option<RoomDigest> {
        self.links.get(&link).copied()
    }

    /// True if `session` is a member behind `link`.
    #[must_use]
    pub fn has_session(&self, link: LinkId, session: SessionId) -> bool {
        self.roster.by_session(link, session).is_some()
    }

    /// The sessions behind `link`.
    pub fn sessions(&self, link: LinkId) -> impl Iterator<Item = SessionId> {
        self.roster.iter().filter_map(move |member| match member.place {
            Place::Session { link: at, session, .. } if at == link => Some(session),
            _ => None,
        })
    }

    /// The entries above `after` that `link` was sent, if the room still has them.
    #[must_use]
    pub fn sent_since(&self, link: LinkId, after: Position) -> Option<Vec<Entry>> {
        let digest = self.links.get(&link).filter(|digest| digest.epoch == after.epoch)?;
        let entries = self.log.since(after.seq)?;
        Some(entries.filter(|e| e.seq <= digest.head && self.concerns(e, link)).cloned().collect())
    }

    /// What to append now; `None` if nothing waits or an append is in flight. Its
    /// end has to come back as [`Input::Appended`].
    pub fn take_append(&mut self) -> Option<Append> {
        self.log.take()
    }

    /// Applies one input, adding what follows from it to `effects`.
    ///
    /// All but `LinkLost`, `Rejoin` and a `Tick` with expiries take time proportional
    /// to the number of links here, not to the number of members.
    pub fn apply(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Join(join) => self.join(join, effects),
            Input::Leave { link, request_id, session } => {
                self.leave(link, request_id, session, effects);
            }
            Input::Publish(publish) => self.publish(publish, effects),
            Input::Rejoin(rejoin) => self.rejoin(rejoin, effects),
            Input::Appended(result) => self.appended(result, effects),
            Input::LinkLost { link, now_ms } => self.link_lost(link, now_ms, effects),
            Input::Add { name, identity } => self.add(&name, identity, effects),
            Input::Kick { name, reason } => self.kick(&name, reason, effects),
            Input::Tick { now_ms } => self.tick(now_ms, effects),
            Input::Release => self.release(effects),
            Input::Superseded => self.close(effects),
        }
        #[cfg(debug_assertions)]
        self.check();
    }

    fn join(&mut self, join: Join, effects: &mut Vec<Effect>) {
        let Join { link, connector, request_id, newcomer } = join;
        let session = newcomer.session;
        let name = newcomer.name.clone();
        if let Some(grant) = self.standing_of(&newcomer, link) {
            let position = self.attach(link, None, effects);
            let outcome =
                Outcome::Joined { grant, position, roster: self.roster.names(), announced: false };
            return self.reply(link, request_id, Ok(outcome), effects);
        }
        if let Err(refusal) = self.may_join(&newcomer) {
            return self.reply(link, request_id, Err(refusal), effects);
        }
        let announced = self.roster.get(&name).is_none();
        self.displace(&name, effects);
        let grant = self.next_grant();
        self.admit(newcomer, link, connector, grant);
        let position = self.attach(link, announced.then_some(&name), effects);
        let outcome = Outcome::Joined { grant, position, roster: self.roster.names(), announced };
        self.reply(link, request_id, Ok(outcome), effects);
        if announced {
            self.announce(&name, true, Some((link, session)), effects);
        }
    }

    /// The right of a session that is in already: its join is a repeated one.
    fn standing_of(&self, newcomer: &Newcomer, link: LinkId) -> Option<Grant> {
        let member = self.roster.by_session(link, newcomer.session)?;
        (member.name == newcomer.name && member.identity == newcomer.identity)
            .then_some(member.grant)
    }

    /// One name, one member: decided here, by the room's owner.
    fn may_join(&self, newcomer: &Newcomer) -> Result<(), Refusal> {
        if self.releasing {
            return Err(Refusal::Moved);
        }
        let Some(holder) = self.roster.get(&newcomer.name) else {
            let full = self.roster.len() >= self.limits.members_max;
            return if full { Err(Refusal::RoomFull) } else { Ok(()) };
        };
        let proven =
            holder.has_secret && newcomer.has_secret && holder.identity == newcomer.identity;
        // Whoever cannot prove who they are does not hold a name over a lost link.
        let free = matches!(holder.place, Place::Grace { .. }) && !holder.has_secret;
        if proven || free { Ok(()) } else { Err(Refusal::NameTaken) }
    }

    /// Takes a name's place away, without a word to the room: somebody with a
    /// better right to it follows.
    pub(crate) fn displace(&mut self, name: &UserName, effects: &mut Vec<Effect>) {
        let Some(holder) = self.roster.get(name) else { return };
        let Place::Session { link, session, .. } = holder.place else { return };
        self.roster.relocate_to_nowhere(name);
        let event = Event::CloseSession { session, reason: "logged in elsewhere".into() };
        effects.push(Effect::Send { link, event, digest_delta: 0 });
        self.detach_if_alone(link, effects);
    }

    pub(crate) fn admit(
        &mut self,
        newcomer: Newcomer,
        link: LinkId,
        connector: model::ConnectorId,
        grant: Grant,
    ) {
        let Newcomer { session, name, identity, has_secret } = newcomer;
        let place = Place::Session { link, connector, session };
        match self.roster.get(&name) {
            Some(holder) if holder.identity == identity && holder.has_secret == has_secret => {
                self.roster.relocate(&name, place);
                self.roster.grant(&name, grant);
            }
            _ => self.roster.put(Member { name, identity, has_secret, grant, place }),
        }
    }

    pub(crate) fn next_grant(&mut self) -> Grant {
        self.grants += 1;
        Grant { fence: self.fence, number: self.grants }
    }

    /// Starts to keep a digest for `link`, unless it has one; `coming` is a name in
    /// the roster that the link is still to be told of. Returns where the link is.
    pub(crate) fn attach(
        &mut self,
        link: LinkId,
        coming: Option<&UserName>,
        effects: &mut Vec<Effect>,
    ) -> Position {
        if let Some(digest) = self.links.get(&link) {
            return Position { epoch: digest.epoch, seq: digest.head };
        }
        let mut digest = RoomDigest::new(&self.id, self.epoch, self.log.head);
        for member in self.roster.iter().filter(|member| Some(&member.name) != coming) {
            digest.add(&member.name);
        }
        self.links.insert(link, digest);
        effects.push(Effect::Attach { link });
        // The next event over the link, the reply, carries the new sum.
        self.head()
    }

    pub(crate) fn reply(
        &self,
        link: LinkId,
        request_id: u64,
        outcome: Result<Outcome, Refusal>,
        effects: &mut Vec<Effect>,
    ) {
        let attaches =
            matches!(effects.last(), Some(Effect::Attach { link: attached }) if *attached == link);
        let digest_delta = match self.links.get(&link) {
            Some(digest) if attaches => digest.value(),
            _ => 0,
        };
        effects.push(Effect::Send {
            link,
            event: Event::Reply { request_id, outcome },
            digest_delta,
        });
    }

    /// Tells every link that somebody came or left.
    pub(crate) fn announce(
        &mut self,
        name: &UserName,
        joined: bool,
        own: Option<(LinkId, SessionId)>,
        effects: &mut Vec<Effect>,
    ) {
        for (&link, digest) in &mut self.links {
            let before = digest.value();
            if joined {
                digest.add(name);
            } else {
                digest.remove(name);
            }
            let session = own.filter(|(at, _)| *at == link).map(|(_, session)| session);
            let event = Event::Presence { name: name.clone(), joined, session };
            effects.push(Effect::Send {
                link,
                event,
                digest_delta: digest.value().wrapping_sub(before),
            });
        }
    }

    fn leave(
        &mut self,
        link: LinkId,
        request_id: u64,
        session: SessionId,
        effects: &mut Vec<Effect>,
    ) {
        let name = self.roster.by_session(link, session).map(|member| member.name.clone());
        if let Some(name) = &name {
            self.roster.remove(name);
            self.detach_if_alone(link, effects);
        }
        self.reply(link, request_id, Ok(Outcome::Gone), effects);
        if let Some(name) = &name {
            self.announce(name, false, None, effects);
        }
    }

    pub(crate) fn detach_if_alone(&mut self, link: LinkId, effects: &mut Vec<Effect>) {
        if self.roster.members_behind(link) == 0
            && let Some(digest) = self.links.remove(&link)
        {
            effects.push(Effect::Detach { link, digest_delta: digest.value().wrapping_neg() });
        }
    }

    fn publish(&mut self, publish: Publish, effects: &mut Vec<Effect>) {
        let origin = publish.origin.clone();
        match self.accept(publish) {
            Ok(Some(at)) => self.answer(&[origin], Ok(at), effects),
            Ok(None) => effects.push(Effect::Append),
            Err(refusal) => self.answer(&[origin], Err(refusal), effects),
        }
    }

    /// Puts a message in line. `Ok(Some)` if it was stored before.
    fn accept(&mut self, publish: Publish) -> Result<Option<(Seq, u64)>, Refusal> {
        let Publish { origin, target, content, cmid, digest } = publish;
        let author = match &origin {
            Origin::Session { link, session, .. } => self
                .roster
                .by_session(*link, *session)
                .map(|member| (member.name.clone(), member.identity)),
            Origin::Call { name, identity, .. } => Some((name.clone(), *identity)),
        };
        let (author, author_identity) = author.ok_or(Refusal::NotAMember)?;
        // A repeated message is answered whatever has become of its target.
        if let Some(repeated) = self.log.repeat(author_identity, &cmid, digest, &origin) {
            return repeated.map(|stored| stored.map(|stored| (stored.seq, stored.at_ms)));
        }
        if self.releasing {
            return Err(Refusal::Moved);
        }
        let kind = match target {
            Target::All => Kind::Message,
            Target::One(target) => {
                let target_identity =
                    self.roster.get(&target).ok_or(Refusal::NoSuchTarget)?.identity;
                Kind::Whisper { target, target_identity }
            }
        };
        let entry = NewEntry { kind, author, author_identity, content, cmid, digest };
        self.log.push(Draft { entry, origins: vec![origin] }).map(|()| None)
    }

    fn answer(
        &self,
        origins: &[Origin],
        stored: Result<(Seq, u64), Refusal>,
        effects: &mut Vec<Effect>,
    ) {
        let stored = stored.map(|(seq, at_ms)| (Position { epoch: self.epoch, seq }, at_ms));
        for origin in origins {
            match origin {
                Origin::Session { link, request_id, .. } => {
                    let outcome =
                        stored.map(|(position, at_ms)| Outcome::Published { position, at_ms });
                    self.reply(*link, *request_id, outcome, effects);
                }
                Origin::Call { ticket, .. } => {
                    effects.push(Effect::Answer { ticket: *ticket, outcome: stored });
                }
            }
        }
    }

    fn appended(&mut self, result: AppendResult, effects: &mut Vec<Effect>) {
        match result {
            AppendResult::Stored { at_ms } => {
                for (entry, origins) in self.log.stored(at_ms) {
                    self.answer(&origins, Ok((entry.seq, at_ms)), effects);
                    self.push(&entry, effects);
                }
            }
            AppendResult::Duplicates(found) => {
                for (stored, origins) in self.log.duplicates(&found) {
                    self.answer(&origins, stored.map(|stored| (stored.seq, stored.at_ms)), effects);
                }
            }
            AppendResult::Superseded | AppendResult::Unknown => return self.close(effects),
            AppendResult::Failed => {
                let origins = self.log.fail_in_flight();
                self.answer(&origins, Err(Refusal::Unavailable), effects);
            }
        }
        if self.releasing {
            self.close(effects);
        } else if !self.log.is_idle() {
            effects.push(Effect::Append);
        }
    }

    /// Sends a stored entry to every link that somebody sits behind who gets it.
    fn push(&mut self, entry: &Entry, effects: &mut Vec<Effect>) {
        let only = match &entry.kind {
            Kind::Message => None,
            Kind::Whisper { target, .. } => {
                match self.roster.get(target).map(|member| &member.place) {
                    Some(Place::Session { link, .. }) => Some(*link),
                    _ => return,
                }
            }
        };
        for (&link, digest) in
            self.links.iter_mut().filter(|(link, _)| only.is_none_or(|only| only == **link))
        {
            let (before, prev) = (digest.value(), digest.head);
            digest.head = entry.seq;
            let event = Event::Entry { entry: entry.clone(), prev };
            effects.push(Effect::Send {
                link,
                event,
                digest_delta: digest.value().wrapping_sub(before),
            });
        }
    }

    /// True if `entry` is for somebody behind `link`.
    pub(crate) fn concerns(&self, entry: &Entry, link: LinkId) -> bool {
        match &entry.kind {
            Kind::Message => true,
            Kind::Whisper { target, target_identity } => {
                self.link_of(target, *target_identity) == Some(link)
            }
        }
    }

    /// The link that leads to somebody; nobody else under that name will do.
    fn link_of(&self, name: &UserName, identity: Identity) -> Option<LinkId> {
        let member = self.roster.get(name).filter(|member| member.identity == identity)?;
        match member.place {
            Place::Session { link, .. } => Some(link),
            _ => None,
        }
    }

    fn link_lost(&mut self, link: LinkId, now_ms: u64, effects: &mut Vec<Effect>) {
        let until_ms = now_ms + self.limits.grace_ms;
        let lost: Vec<(UserName, Place)> = self
            .roster
            .iter()
            .filter_map(|member| match &member.place {
                Place::Session { link: at, connector, session } if *at == link => Some((
                    member.name.clone(),
                    Place::Grace { connector: connector.clone(), session: *session, until_ms },
                )),
                _ => None,
            })
            .collect();
        for (name, place) in lost {
            self.roster.relocate(&name, place);
        }
        self.detach_if_alone(link, effects);
    }

    fn tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let expired: Vec<UserName> = self
            .roster
            .iter()
            .filter(|member| matches!(member.place, Place::Grace { until_ms, .. } if until_ms <= now_ms))
            .map(|member| member.name.clone())
            .collect();
        for name in expired {
            self.roster.remove(&name);
            self.announce(&name, false, None, effects);
        }
    }

    fn add(&mut self, name: &UserName, identity: Identity, effects: &mut Vec<Effect>) {
        if self.roster.get(name).is_some() {
            return;
        }
        let grant = self.next_grant();
        let member =
            Member { name: name.clone(), identity, has_secret: false, grant, place: Place::Added };
        self.roster.put(member);
        self.announce(name, true, None, effects);
    }

    fn kick(&mut self, name: &UserName, reason: String, effects: &mut Vec<Effect>) {
        let Some(member) = self.roster.remove(name) else { return };
        if let Place::Session { link, session, .. } = member.place {
            let event = Event::CloseSession { session, reason };
            effects.push(Effect::Send { link, event, digest_delta: 0 });
            self.detach_if_alone(link, effects);
        }
        self.announce(name, false, None, effects);
    }

    fn release(&mut self, effects: &mut Vec<Effect>) {
        self.releasing = true;
        let waiting = self.log.fail_pending();
        self.answer(&waiting, Err(Refusal::Moved), effects);
        if !self.log.is_in_flight() {
            self.close(effects);
        }
    }

    /// Gives the room up. Whoever waits is told to ask elsewhere.
    fn close(&mut self, effects: &mut Vec<Effect>) {
        let mut waiting = self.log.fail_in_flight();
        waiting.extend(self.log.fail_pending());
        self.answer(&waiting, Err(Refusal::Moved), effects);
        for (link, digest) in std::mem::take(&mut self.links) {
            effects.push(Effect::Detach { link, digest_delta: digest.value().wrapping_neg() });
            effects.push(Effect::Send { link, event: Event::Moved, digest_delta: 0 });
        }
        self.roster = Roster::default();
        effects.push(Effect::Closed);
    }

    #[cfg(debug_assertions)]
    fn check(&self) {
        self.roster.check();
        assert!(
            self.links.keys().all(|link| self.roster.members_behind(*link) > 0),
            "an attached link has a member"
        );
        assert!(
            self.roster.len() <= self.limits.members_max.max(1) * 2,
            "a room is far over its limit"
        );
    }
}
