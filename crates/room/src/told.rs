//! What each link is told, and the digest of it.

use model::{LinkId, Position, RoomDigest, SessionId, UserName};

use crate::{Effect, Event, Outcome, Refusal, Room};

impl Room {
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

    pub(crate) fn detach_if_alone(&mut self, link: LinkId, effects: &mut Vec<Effect>) {
        if self.roster.members_behind(link) == 0
            && let Some(digest) = self.links.remove(&link)
        {
            effects.push(Effect::Detach { link, digest_delta: digest.value().wrapping_neg() });
        }
    }
}
