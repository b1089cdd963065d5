//! The room itself.

use std::collections::BTreeMap;

use model::{
    Epoch, Fence, Grant, Identity, LinkId, Position, RoomDigest, RoomId, Seq, SessionId, UserName,
    planted::{self, Bug},
};

use crate::{
    Append, Effect, Event, Input, Join, Member, Newcomer, Outcome, Place, Refusal, log::Log,
    roster::Roster,
};

/// Bounds of one room.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Limits {
    /// Names that it may hold; more are refused with [`Refusal::RoomFull`]. Whoever
    /// was in when the room moved is not counted out by a re-join.
    pub members_max: usize,
    /// Messages that may wait to be stored; more are refused with [`Refusal::Overloaded`].
    pub pending_max: usize,
    /// Newest entries that it remembers, for re-joins.
    pub ring_max: usize,
    /// How long a name is kept after its link was lost, in milliseconds.
    pub grace_ms: u64,
}

/// A room. See the crate's documentation.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
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
    pub(crate) releasing: bool,
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

    /// The name under which `session` is a member behind `link`.
    #[must_use]
    pub fn name_of(&self, link: LinkId, session: SessionId) -> Option<&UserName> {
        self.roster.by_session(link, session).map(|member| &member.name)
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

    /// What to append now; `None` if nothing waits or an append is in flight. Its
    /// end has to come back as [`Input::Appended`].
    pub fn take_append(&mut self) -> Option<Append> {
        self.log.take()
    }

    /// Applies one input, adding what follows from it to `effects`.
    ///
    /// What is said takes time proportional to the number of links here, not to the
    /// number of members. A join copies the roster once, for its reply, unless
    /// its connector has it.
    pub fn apply(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Join(join) => self.join(join, effects),
            Input::Leave { link, request_id, session, away_at_ms: None } => {
                self.leave(link, request_id, session, effects);
            }
            Input::Leave { link, request_id, session, away_at_ms: Some(now_ms) } => {
                self.send_away(link, session, now_ms, effects);
                self.reply(link, request_id, Ok(Outcome::Gone), effects);
            }
            Input::Publish(publish) => self.publish(publish, effects),
            Input::Sought(sought) => self.sought(sought, effects),
            Input::Rejoin(rejoin) => self.rejoin(rejoin, effects),
            Input::Read(read) => self.read(read, effects),
            Input::Redact { seq } => self.redact(seq, effects),
            Input::Appended(result) => self.appended(result, effects),
            Input::LinkLost { link, now_ms } => self.link_lost(link, now_ms, effects),
            Input::Add { ticket, name, identity } => self.add(ticket, &name, identity, effects),
            Input::Kick { name, reason } => self.kick(&name, reason, effects),
            Input::Tick { now_ms } => self.tick(now_ms, effects),
            Input::Release => self.release(effects),
            Input::Superseded => self.close(effects),
        }
        #[cfg(debug_assertions)]
        self.check();
    }

    fn join(&mut self, join: Join, effects: &mut Vec<Effect>) {
        let Join { link, connector, request_id, newcomer, resume, knows_roster } = join;
        // As long as it has members here, the link is told who comes and goes.
        let is_known = knows_roster && self.links.contains_key(&link);
        let session = newcomer.session;
        let name = newcomer.name.clone();
        if let Some(grant) = self.standing_of(&newcomer, link) {
            let resumed = resume.map(|resume| self.resume(resume, newcomer.identity));
            let position = self.attach(link, None, effects);
            let (head, roster, announced) = (self.log.head, self.names(is_known), false);
            let outcome = Outcome::Joined { grant, position, head, roster, announced, resumed };
            return self.reply(link, request_id, Ok(outcome), effects);
        }
        if let Err(refusal) = self.may_join(&newcomer) {
            return self.reply(link, request_id, Err(refusal), effects);
        }
        let resumed = resume.map(|resume| self.resume(resume, newcomer.identity));
        let announced = self.roster.get(&name).is_none();
        self.displace(&name, effects);
        // A session goes by one name: under the one that it had it leaves.
        let former = self.roster.by_session(link, session).map(|member| member.name.clone());
        let former = former.and_then(|former| self.roster.remove(&former));
        let grant = self.next_grant();
        self.admit(newcomer, link, connector, grant);
        let position = self.attach(link, announced.then_some(&name), effects);
        let (head, roster) = (self.log.head, self.names(is_known));
        let outcome = Outcome::Joined { grant, position, head, roster, announced, resumed };
        self.reply(link, request_id, Ok(outcome), effects);
        if let Some(former) = former {
            self.announce(&former.name, false, None, effects);
        }
        if announced && !planted::is(Bug::ComingNotTold) {
            self.announce(&name, true, Some((link, session)), effects);
        }
    }

    /// All names, in the order for clients; none if they are known where they go.
    fn names(&self, are_known: bool) -> Vec<UserName> {
        if are_known { Vec::new() } else { self.roster.names() }
    }

    /// The right of a session that is in already: its join is a repeated one.
    fn standing_of(&self, newcomer: &Newcomer, link: LinkId) -> Option<Grant> {
        let member = self.roster.by_session(link, newcomer.session)?;
        (member.name == newcomer.name && member.identity == newcomer.identity)
            .then_some(member.grant)
    }

    /// True if a session that wants to come in over `link` will not be refused, as
    /// things are: only then what it missed is worth a read of the log.
    #[must_use]
    pub fn lets_in(&self, newcomer: &Newcomer, link: LinkId) -> bool {
        self.standing_of(newcomer, link).is_some() || self.may_join(newcomer).is_ok()
    }

    /// One name, one member: decided here, by the room's owner.
    fn may_join(&self, newcomer: &Newcomer) -> Result<(), Refusal> {
        if self.releasing {
            return Err(Refusal::Moved);
        }
        let Some(holder) = self.roster.get(&newcomer.name) else { return self.has_place() };
        let proven =
            holder.has_secret && newcomer.has_secret && holder.identity == newcomer.identity;
        // Whoever cannot prove who they are does not hold a name over a lost link.
        let free = matches!(holder.place, Place::Grace { .. }) && !holder.has_secret;
        if proven || free || planted::is(Bug::ResumeForAnybody) {
            Ok(())
        } else {
            Err(Refusal::NameTaken)
        }
    }

    /// Whether one more name may come in.
    fn has_place(&self) -> Result<(), Refusal> {
        let full = self.roster.len() >= self.limits.members_max;
        if full { Err(Refusal::RoomFull) } else { Ok(()) }
    }

    /// Takes a name's place away, without a word to the room: somebody with a
    /// better right to it follows.
    pub(crate) fn displace(&mut self, name: &UserName, effects: &mut Vec<Effect>) {
        let Some(holder) = self.roster.get(name) else { return };
        let Place::Session { link, session, .. } = holder.place else { return };
        self.roster.relocate_to_nowhere(name);
        if !planted::is(Bug::PredecessorStays) {
            let event =
                Event::CloseSession { session, reason: "superseded: logged in elsewhere".into() };
            effects.push(Effect::Send { link, event, digest_delta: 0 });
        }
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
        let since = self.log.head;
        match self.roster.get(&name) {
            Some(holder) if holder.identity == identity && holder.has_secret == has_secret => {
                self.roster.relocate(&name, place);
                self.roster.grant(&name, grant, since);
            }
            _ => self.roster.put(Member { name, identity, has_secret, grant, place, since }),
        }
    }

    pub(crate) fn next_grant(&mut self) -> Grant {
        self.grants += 1;
        Grant { fence: self.fence, number: self.grants }
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

    /// A session goes to come back over another link, without a word to the room.
    fn send_away(
        &mut self,
        link: LinkId,
        session: SessionId,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.roster.by_session(link, session) else { return };
        let (name, Place::Session { connector, .. }) = (member.name.clone(), member.place.clone())
        else {
            return;
        };
        let until_ms = now_ms + self.limits.grace_ms;
        let place = Place::Grace { connector, session, until_ms, is_sent_away: true };
        self.roster.relocate(&name, place);
        self.detach_if_alone(link, effects);
    }

    fn link_lost(&mut self, link: LinkId, now_ms: u64, effects: &mut Vec<Effect>) {
        let until_ms = now_ms + self.limits.grace_ms;
        let lost: Vec<(UserName, Place)> = self
            .roster
            .iter()
            .filter_map(|member| match &member.place {
                Place::Session { link: at, connector, session } if *at == link => Some((
                    member.name.clone(),
                    Place::Grace {
                        connector: connector.clone(),
                        session: *session,
                        until_ms,
                        is_sent_away: false,
                    },
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

    fn add(&mut self, ticket: u64, name: &UserName, identity: Identity, effects: &mut Vec<Effect>) {
        let may = match self.roster.get(name) {
            _ if self.releasing => Err(Refusal::Moved),
            Some(_) => Err(Refusal::NameTaken),
            None => self.has_place(),
        };
        effects.push(Effect::Answer { ticket, outcome: may.map(|()| self.head()) });
        if may.is_ok() {
            let (grant, place) = (self.next_grant(), Place::Added);
            self.roster.put(Member {
                name: name.clone(),
                identity,
                has_secret: false,
                grant,
                place,
                since: self.log.head,
            });
            self.announce(name, true, None, effects);
        }
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
    pub(crate) fn close(&mut self, effects: &mut Vec<Effect>) {
        let unknown = self.log.fail_in_flight();
        self.answer(&unknown, Err(Refusal::MovedMeanwhile), effects);
        let waiting = self.log.fail_pending();
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
        let behind = |member: &Member| match member.place {
            Place::Session { link, .. } => self.links.contains_key(&link),
            _ => true,
        };
        assert!(self.roster.iter().all(behind), "whoever sits behind a link is told");
    }
}
