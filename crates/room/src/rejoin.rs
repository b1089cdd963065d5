//! How a connector brings its members back after a lost link or a move, without
//! noise: nobody is told of what did not change. And what those missed who come back.

use std::collections::HashSet;

use model::{
    ConnectorId, Grant, Identity, LinkId, Position, Seq, SessionId, UserName,
    planted::{self, Bug},
};

use crate::{
    Effect, Entry, Kind, Member, Newcomer, Origin, Outcome, Place, Refusal, Rejoin, Replay, Resume,
    Room, Verdict,
};

impl Room {
    /// True if what follows `mark` can be told from the room's memory; else
    /// the shell reads the log first.
    #[must_use]
    pub fn remembers(&self, mark: Position) -> bool {
        mark.epoch != self.epoch || mark.seq > self.log.head || self.log.since(mark.seq).is_some()
    }

    /// True if `replay_up_to`, as far as the shell has read, joins the room's memory.
    #[must_use]
    pub fn joins(&self, replay_up_to: Seq) -> bool {
        self.log.since(replay_up_to).is_some()
    }

    /// True if something is still to be stored that the sessions of a re-join said over
    /// another link. What becomes of it decides what they have to say again: its
    /// answer goes over a link that is lost.
    #[must_use]
    pub fn is_storing_for(&self, rejoin: &Rejoin) -> bool {
        let is_before = |origin: &Origin| match origin {
            Origin::Session { link, session, .. } => {
                *link != rejoin.link
                    && rejoin.members.iter().any(|(who, _)| who.session == *session)
            }
            Origin::Call { .. } => false,
        };
        self.log.waiting().any(is_before)
    }

    pub(crate) fn rejoin(&mut self, rejoin: Rejoin, effects: &mut Vec<Effect>) {
        let Rejoin { link, connector, request_id, mark, members, replay } = rejoin;
        if self.releasing {
            return self.reply(link, request_id, Err(Refusal::Moved), effects);
        }
        self.drop_unlisted(&connector, &members, effects);

        let (mut readmitted, mut refused, mut new_names) = (Vec::new(), Vec::new(), Vec::new());
        for (newcomer, grant) in members {
            let (session, name) = (newcomer.session, newcomer.name.clone());
            let is_new = self.roster.get(&name).is_none();
            if !self.may_rejoin(&newcomer, grant, link, &connector) {
                refused.push(session);
                continue;
            }
            let grant = grant.unwrap_or_else(|| self.next_grant());
            self.make_way(&newcomer, link, &connector, effects);
            self.admit(newcomer, link, connector.clone(), grant);
            readmitted.push((session, grant));
            if is_new {
                new_names.push(name);
            }
        }
        // Of two sessions that were brought under one name, the second may have
        // taken the place of the first.
        readmitted.retain(|(session, _)| {
            let is_in = self.has_session(link, *session);
            if !is_in {
                refused.push(*session);
            }
            is_in
        });
        // Others are told of names that are new here; a connector that was shown
        // them before keeps quiet about it.
        let before = self.links.remove(&link);
        for name in &new_names {
            self.announce(name, true, None, effects);
        }
        if let Some(digest) = before {
            effects.push(Effect::Detach { link, digest_delta: digest.value().wrapping_neg() });
        }
        let (verdict, entries, said) = self.replay(mark, replay, link);
        let position =
            if readmitted.is_empty() { self.head() } else { self.attach(link, None, effects) };
        let roster = self.roster.names();
        let outcome =
            Outcome::Rejoined { verdict, position, entries, said, roster, readmitted, refused };
        self.reply(link, request_id, Ok(outcome), effects);
    }

    /// Sessions that the connector held before and does not list any more left
    /// while the link was lost, also if somebody else has come under their name; but
    /// those that it has sent away have their time.
    fn drop_unlisted(
        &mut self,
        connector: &ConnectorId,
        listed: &[(Newcomer, Option<Grant>)],
        effects: &mut Vec<Effect>,
    ) {
        let listed: HashSet<(SessionId, &UserName)> =
            listed.iter().map(|(newcomer, _)| (newcomer.session, &newcomer.name)).collect();
        let is_gone = |member: &&Member| match &member.place {
            Place::Grace { is_sent_away: true, .. } => false,
            Place::Session { connector: at, session, .. }
            | Place::Grace { connector: at, session, .. } => {
                at == connector && !listed.contains(&(*session, &member.name))
            }
            Place::Added => false,
        };
        let gone: Vec<UserName> =
            self.roster.iter().filter(is_gone).map(|member| member.name.clone()).collect();
        for name in gone {
            let member = self.roster.remove(&name);
            if let Some(Member { place: Place::Session { link, .. }, .. }) = member {
                self.detach_if_alone(link, effects);
            }
            self.announce(&name, false, None, effects);
        }
    }

    /// Who keeps a name that two sessions bring: a proven take-over, else the one
    /// with the older right (contract, rule 11).
    fn may_rejoin(
        &self,
        newcomer: &Newcomer,
        grant: Option<Grant>,
        link: LinkId,
        connector: &ConnectorId,
    ) -> bool {
        let brought = self.roster.by_session(link, newcomer.session);
        if brought.is_some_and(|member| member.name != newcomer.name) {
            // A session goes by one name; it was brought under another already.
            return false;
        }
        let Some(holder) = self.roster.get(&newcomer.name) else { return true };
        let is_itself = is_held_by(holder, newcomer.session, connector);
        let is_proven = holder.identity == newcomer.identity;
        match &holder.place {
            _ if is_itself => true,
            Place::Grace { .. } => is_proven || !holder.has_secret,
            Place::Session { .. } if is_proven => grant.is_none_or(|grant| holder.grant <= grant),
            Place::Session { .. } => grant.is_some_and(|grant| grant < holder.grant),
            Place::Added => false,
        }
    }

    /// Takes the name's place away from who has it, and closes that session; without
    /// a word if it is the same one behind an older link, or one that the same
    /// re-join brought: the reply says what becomes of it.
    fn make_way(
        &mut self,
        newcomer: &Newcomer,
        link: LinkId,
        connector: &ConnectorId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(holder) = self.roster.get(&newcomer.name) else { return };
        let Place::Session { link: at, .. } = holder.place else { return };
        if at != link && !is_held_by(holder, newcomer.session, connector) {
            return self.displace(&newcomer.name, effects);
        }
        self.roster.relocate_to_nowhere(&newcomer.name);
        self.detach_if_alone(at, effects);
    }

    /// What follows a mark, for those behind `link`; and what else they said.
    fn replay(
        &self,
        mark: Position,
        read: Option<Replay>,
        link: LinkId,
    ) -> (Verdict, Vec<Entry>, Vec<Entry>) {
        if mark.epoch != self.epoch {
            // This log began after the one that the mark is of: all that was said here
            // so far is new to whoever comes late to it.
            let said = self.log.remembered().filter(|entry| self.concerns(entry, link));
            return (Verdict::Reset, said.cloned().collect(), Vec::new());
        }
        let (verdict, missed) = self.missed(mark, read);
        if verdict != Verdict::Complete {
            return (verdict, Vec::new(), Vec::new());
        }
        let (entries, others): (Vec<_>, Vec<_>) =
            missed.into_iter().partition(|entry| self.concerns(entry, link));
        let said = others.into_iter().filter(|entry| self.is_from(entry, link)).collect();
        (verdict, entries, said)
    }

    /// What follows where somebody left off, for them alone.
    pub(crate) fn resume(&self, resume: Resume, who: Identity) -> (Verdict, Vec<Entry>) {
        let (verdict, mut entries) = self.missed(resume.position, resume.replay);
        entries.retain(|entry| entry.is_for(who));
        (verdict, entries)
    }

    /// All that follows a mark, or as much of it as there is, without holes up to the
    /// room's head.
    fn missed(&self, mark: Position, read: Option<Replay>) -> (Verdict, Vec<Entry>) {
        if mark.epoch != self.epoch || mark.seq > self.log.head {
            if planted::is(Bug::AlwaysComplete) {
                return (Verdict::Complete, Vec::new());
            }
            return (Verdict::Reset, Vec::new());
        }
        let read = read.unwrap_or(Replay { entries: Vec::new(), from: mark.seq, up_to: mark.seq });
        let (mut entries, mut from) = (read.entries, read.from.max(mark.seq));
        match self.log.since(read.up_to) {
            Some(newer) => entries.extend(newer.cloned()),
            None => {
                // What was read does not reach to what is remembered.
                from = self.log.remembered_after();
                entries = self.log.remembered().cloned().collect();
            }
        }
        // The log may be ahead of what this room was told of its own append: that will
        // be pushed.
        entries.retain(|entry| from < entry.seq && entry.seq <= self.log.head);
        let is_complete = from == mark.seq;
        let truncated = Verdict::Truncated { first: from.next() };
        (if is_complete { Verdict::Complete } else { truncated }, entries)
    }
}

impl Entry {
    /// True if somebody may see it, now and in history.
    #[must_use]
    pub fn is_for(&self, who: Identity) -> bool {
        match &self.kind {
            Kind::Message => true,
            Kind::Whisper { target_identity, .. } => {
                *target_identity == who || self.author_identity == who
            }
        }
    }
}

/// True if `member` is `session` of `connector`, now or before its link was lost.
fn is_held_by(member: &Member, session: SessionId, connector: &ConnectorId) -> bool {
    match &member.place {
        Place::Session { connector: at, session: its, .. }
        | Place::Grace { connector: at, session: its, .. } => at == connector && *its == session,
        Place::Added => false,
    }
}

impl crate::roster::Roster {
    /// Takes a member from behind its link while its name stays in the roster.
    pub(crate) fn relocate_to_nowhere(&mut self, name: &UserName) {
        let Some(member) = self.get(name) else { return };
        if let Place::Session { connector, session, .. } = &member.place {
            let place = Place::Grace {
                connector: connector.clone(),
                session: *session,
                until_ms: u64::MAX,
                is_sent_away: false,
            };
            self.relocate(name, place);
        }
    }
}
