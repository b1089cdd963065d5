//! How a connector brings its members back after a lost link or a move, without
//! noise: nobody is told of what did not change.

use model::{ConnectorId, Grant, LinkId, Position, Seq, UserName};

use crate::{Effect, Entry, Member, Newcomer, Outcome, Place, Rejoin, Room, Verdict};

impl Room {
    /// True if a re-join from `mark` can be answered from the room's memory; else
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

    pub(crate) fn rejoin(&mut self, rejoin: Rejoin, effects: &mut Vec<Effect>) {
        let Rejoin { link, connector, request_id, mark, members, replay } = rejoin;
        self.drop_unlisted(&connector, &members, effects);

        let (mut readmitted, mut refused, mut new_names) = (Vec::new(), Vec::new(), Vec::new());
        for (newcomer, grant) in members {
            let (session, name) = (newcomer.session, newcomer.name.clone());
            let is_new = self.roster.get(&name).is_none();
            if !self.may_rejoin(&newcomer, grant, &connector) {
                refused.push(session);
                continue;
            }
            let grant = grant.unwrap_or_else(|| self.next_grant());
            self.displace_other(&name, &connector, effects);
            self.admit(newcomer, link, connector.clone(), grant);
            readmitted.push((session, grant));
            if is_new {
                new_names.push((name, session));
            }
        }
        // Others are told of names that are new here; a connector that was shown
        // them before keeps quiet about it.
        let before = self.links.remove(&link);
        for (name, _) in &new_names {
            self.announce(name, true, None, effects);
        }
        if let Some(digest) = before {
            effects.push(Effect::Detach { link, digest_delta: digest.value().wrapping_neg() });
        }
        let (verdict, entries) = self.replay(mark, replay, link);
        let position =
            if readmitted.is_empty() { self.head() } else { self.attach(link, None, effects) };
        let roster = self.roster.names();
        let outcome = Outcome::Rejoined { verdict, position, entries, roster, readmitted, refused };
        self.reply(link, request_id, Ok(outcome), effects);
    }

    /// Members that the connector held before and does not list any more left
    /// while the link was lost.
    fn drop_unlisted(
        &mut self,
        connector: &ConnectorId,
        listed: &[(Newcomer, Option<Grant>)],
        effects: &mut Vec<Effect>,
    ) {
        let held = |place: &Place| match place {
            Place::Session { connector: at, session, .. }
            | Place::Grace { connector: at, session, .. } => (at == connector).then_some(*session),
            Place::Added => None,
        };
        let gone: Vec<UserName> = self
            .roster
            .iter()
            .filter(|member| {
                held(&member.place).is_some()
                    && !listed.iter().any(|(newcomer, _)| newcomer.name == member.name)
            })
            .map(|member| member.name.clone())
            .collect();
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
        connector: &ConnectorId,
    ) -> bool {
        let Some(holder) = self.roster.get(&newcomer.name) else { return true };
        let same = holder.identity == newcomer.identity;
        match &holder.place {
            Place::Grace { .. } => same || !holder.has_secret,
            Place::Session { connector: at, .. } if at == connector => same,
            Place::Session { .. } if same => grant.is_none_or(|grant| holder.grant <= grant),
            Place::Session { .. } => grant.is_some_and(|grant| grant < holder.grant),
            Place::Added => false,
        }
    }

    /// Closes the session that holds `name` behind another connector. One behind an
    /// older link of the same connector is the same session, and stays open.
    fn displace_other(
        &mut self,
        name: &UserName,
        connector: &ConnectorId,
        effects: &mut Vec<Effect>,
    ) {
        match self.roster.get(name).map(|member| &member.place) {
            Some(Place::Session { connector: at, .. }) if at != connector => {
                self.displace(name, effects);
            }
            Some(Place::Session { link, .. }) => {
                let link = *link;
                self.roster.relocate_to_nowhere(name);
                self.detach_if_alone(link, effects);
            }
            _ => {}
        }
    }

    /// What follows a mark, for those behind `link`.
    fn replay(
        &self,
        mark: Position,
        read: Option<crate::Replay>,
        link: LinkId,
    ) -> (Verdict, Vec<Entry>) {
        if mark.epoch != self.epoch || mark.seq > self.log.head {
            return (Verdict::Reset, Vec::new());
        }
        let (mut entries, from) = match read {
            Some(read) if !read.complete => return (Verdict::Truncated, Vec::new()),
            Some(read) => (read.entries, read.up_to),
            None => (Vec::new(), mark.seq),
        };
        let Some(newer) = self.log.since(from) else { return (Verdict::Truncated, Vec::new()) };
        entries.extend(newer.cloned());
        entries.retain(|entry| entry.seq > mark.seq && self.concerns(entry, link));
        (Verdict::Complete, entries)
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
            };
            self.relocate(name, place);
        }
    }
}
