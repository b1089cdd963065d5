//! What is said: from the wish to say it to whoever hears it.

use model::{
    Identity, LinkId, Position, Seq, UserName,
    planted::{self, Bug},
};

use crate::{
    AppendResult, Effect, Entry, Event, Found, Kind, NewEntry, Origin, Outcome, Place, Publish,
    Read, Refusal, Room, Sought, Target, log::Draft,
};

/// What becomes of a message that was said.
enum Accepted {
    /// It is in line, or was.
    Waits,
    /// It was stored before: there, and then.
    Before(Seq, u64),
    /// Its target is not here; it, by this author, may have been stored before.
    Perhaps(Publish, Identity),
}

impl Room {
    pub(crate) fn publish(&mut self, publish: Publish, effects: &mut Vec<Effect>) {
        let origin = publish.origin.clone();
        match self.accept(publish) {
            Ok(Accepted::Before(seq, at_ms)) => self.answer(&[origin], Ok((seq, at_ms)), effects),
            Ok(Accepted::Waits) => {
                self.hurry(&origin, effects);
                effects.push(Effect::Append);
            }
            Ok(Accepted::Perhaps(publish, author)) => {
                effects.push(Effect::Seek { publish, author });
            }
            Err(refusal) => self.answer(&[origin], Err(refusal), effects),
        }
    }

    /// Does not wait for the store: only where that bug is planted.
    fn hurry(&mut self, origin: &Origin, effects: &mut Vec<Effect>) {
        let (reply, push) = (Bug::ReplyBeforeStored, Bug::PushBeforeStored);
        if !planted::is(reply) && !planted::is(push) {
            return;
        }
        let Some(entry) = self.log.foreseen() else { return };
        match planted::is(reply) {
            true => self.answer(std::slice::from_ref(origin), Ok((entry.seq, 0)), effects),
            false => self.push(&entry, effects),
        }
    }

    /// Puts a message in line, unless it was stored before.
    fn accept(&mut self, publish: Publish) -> Result<Accepted, Refusal> {
        let author = match &publish.origin {
            Origin::Session { link, session, .. } => self
                .roster
                .by_session(*link, *session)
                .map(|member| (member.name.clone(), member.identity)),
            Origin::Call { name, identity, .. } => Some((name.clone(), *identity)),
        };
        let (author, author_identity) = author.ok_or(Refusal::NotAMember)?;
        let Publish { origin, target, content, cmid, digest } = &publish;
        // A repeated message is answered whatever has become of its target.
        match self.log.repeat(author_identity, cmid, *digest, origin) {
            Some(Ok(Some(stored))) => return Ok(Accepted::Before(stored.seq, stored.at_ms)),
            Some(Ok(None)) => return Ok(Accepted::Waits),
            Some(Err(refusal)) => return Err(refusal),
            None => {}
        }
        if self.releasing {
            return Err(Refusal::Moved);
        }
        let kind = match target {
            Target::All => Kind::Message,
            Target::One(target) => {
                let Some(member) = self.roster.get(target) else {
                    return Ok(Accepted::Perhaps(publish, author_identity));
                };
                Kind::Whisper { target: target.clone(), target_identity: member.identity }
            }
        };
        let (content, cmid) = (content.clone(), cmid.clone());
        let entry = NewEntry { kind, author, author_identity, content, cmid, digest: *digest };
        let origins = vec![publish.origin];
        self.log.push(Draft { entry, origins, rivals: Vec::new(), redacted: false })?;
        Ok(Accepted::Waits)
    }

    /// A message whose target is not here was looked for in the log.
    pub(crate) fn sought(&self, sought: Sought, effects: &mut Vec<Effect>) {
        let Sought { publish, found } = sought;
        let stored = match found {
            Found::Entry { seq, at_ms, digest } if digest == publish.digest => Ok((seq, at_ms)),
            Found::Entry { .. } => Err(Refusal::CmidConflict),
            Found::Nothing => Err(Refusal::NoSuchTarget),
            Found::Unknown => Err(Refusal::Unavailable),
        };
        self.answer(&[publish.origin], stored, effects);
    }

    pub(crate) fn answer(
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
                    let outcome = stored.map(|(position, _)| position);
                    effects.push(Effect::Answer { ticket: *ticket, outcome });
                }
            }
        }
    }

    pub(crate) fn appended(&mut self, result: AppendResult, effects: &mut Vec<Effect>) {
        match result {
            AppendResult::Stored { at_ms } => {
                for (entry, origins, others) in self.log.stored(at_ms) {
                    if planted::is(Bug::PushBeforeReply) {
                        self.push(&entry, effects);
                    }
                    self.answer(&origins, Ok((entry.seq, at_ms)), effects);
                    if !planted::is(Bug::PushBeforeReply) {
                        self.push(&entry, effects);
                    }
                    self.answer(&others, Err(Refusal::CmidConflict), effects);
                }
            }
            AppendResult::Duplicates(found) => {
                for (stored, origins, others) in self.log.duplicates(&found) {
                    self.answer(&origins, Ok((stored.seq, stored.at_ms)), effects);
                    self.answer(&others, Err(Refusal::CmidConflict), effects);
                }
            }
            AppendResult::Superseded => {
                let refused = self.log.fail_in_flight();
                self.answer(&refused, Err(Refusal::Moved), effects);
                return self.close(effects);
            }
            AppendResult::Unknown => return self.close(effects),
            AppendResult::Failed => {
                let origins = self.log.fail_in_flight();
                let is_sure = planted::is(Bug::UnknownTakenForAbsent);
                let refusal = if is_sure { Refusal::NoSuchTarget } else { Refusal::Unavailable };
                self.answer(&origins, Err(refusal), effects);
            }
        }
        if self.releasing {
            self.close(effects);
        } else if !self.log.is_idle() {
            effects.push(Effect::Append);
        }
    }

    /// Who may read is decided here, before a byte is read.
    pub(crate) fn read(&mut self, read: Read, effects: &mut Vec<Effect>) {
        let refusal = match self.roster.by_session(read.link, read.session) {
            _ if self.releasing => Refusal::Moved,
            Some(member) => {
                let reader = member.identity;
                return effects.push(Effect::ReadLog { read, reader });
            }
            None => Refusal::NotAMember,
        };
        self.reply(read.link, read.request_id, Err(refusal), effects);
    }

    /// Forgets what an entry says, and has every link forget it.
    pub(crate) fn redact(&mut self, seq: Seq, effects: &mut Vec<Effect>) {
        self.log.redact(seq);
        for &link in self.links.keys() {
            effects.push(Effect::Send { link, event: Event::Redacted { seq }, digest_delta: 0 });
        }
    }

    /// Sends a stored entry to every link that somebody sits behind who gets it.
    fn push(&mut self, entry: &Entry, effects: &mut Vec<Effect>) {
        let only = match &entry.kind {
            Kind::Message => None,
            Kind::Whisper { target, target_identity } => {
                let Some(link) = self.link_of(target, *target_identity) else { return };
                Some(link)
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

    /// True if somebody behind `link` said `entry`.
    pub(crate) fn is_from(&self, entry: &Entry, link: LinkId) -> bool {
        self.link_of(&entry.author, entry.author_identity) == Some(link)
    }

    /// True if `entry` is told by an event over `link`: somebody was there when it was
    /// said, or it is for all.
    fn was_sent(&self, entry: &Entry, link: LinkId) -> bool {
        let came_before = |target| {
            let member: Option<&crate::Member> = self.roster.get(target);
            member.is_some_and(|member| member.since < entry.seq)
        };
        match &entry.kind {
            Kind::Message => true,
            Kind::Whisper { target, .. } => self.concerns(entry, link) && came_before(target),
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

    /// The entries above `after` that `link` was sent, if the room still has them.
    #[must_use]
    pub fn sent_since(&self, link: LinkId, after: Position) -> Option<Vec<Entry>> {
        let digest = self.links.get(&link).filter(|digest| digest.epoch == after.epoch)?;
        let entries = self.log.since(after.seq)?;
        Some(entries.filter(|e| e.seq <= digest.head && self.was_sent(e, link)).cloned().collect())
    }
}
