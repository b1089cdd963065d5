//! Who is in the room, and through which link.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{Hash, Hasher},
};

use model::{ConnectorId, Grant, Identity, LinkId, Seq, SessionId, UserName};

/// One name in the room.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Member {
    /// The name.
    pub name: UserName,
    /// Who it is.
    pub identity: Identity,
    /// True if it can prove that.
    pub has_secret: bool,
    /// Its right to be here.
    pub grant: Grant,
    /// Where it is.
    pub place: Place,
    /// The room's newest entry when it came there: what was whispered to it up to
    /// then, its link was not sent as an event.
    pub since: Seq,
}

/// Where a member is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Place {
    /// Behind a link.
    Session {
        /// The link.
        link: LinkId,
        /// The connector at its other end.
        connector: ConnectorId,
        /// Its number there.
        session: SessionId,
    },
    /// Its link was lost, or its connector has sent it away; the name is kept for a
    /// while.
    Grace {
        /// The connector that it was on.
        connector: ConnectorId,
        /// Its number there.
        session: SessionId,
        /// When it leaves, in milliseconds.
        until_ms: u64,
        /// True if it was sent away: its connector will not bring it back.
        is_sent_away: bool,
    },
    /// Nowhere: a back end put it in.
    Added,
}

impl Place {
    fn connector(&self) -> Option<&ConnectorId> {
        match self {
            Self::Session { connector, .. } | Self::Grace { connector, .. } => Some(connector),
            Self::Added => None,
        }
    }
}

/// All members, by name, by session, and in the order that clients are told.
///
/// That order is the original's: grouped by connector, the groups in the order
/// in which their first member came, members in the order in which they came
/// (`channelService` of pomelo 2.2.7).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Roster {
    members: HashMap<UserName, Member>,
    sessions: HashMap<(LinkId, SessionId), UserName>,
    /// `None` is the group of those that back ends put in.
    groups: Vec<(Option<ConnectorId>, Vec<UserName>)>,
    /// How many members sit behind each link; ordered, so that effects come out
    /// in the same order every time.
    links: BTreeMap<LinkId, usize>,
    in_grace: usize,
}

impl Roster {
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn get(&self, name: &UserName) -> Option<&Member> {
        self.members.get(name)
    }

    pub(crate) fn by_session(&self, link: LinkId, session: SessionId) -> Option<&Member> {
        self.members.get(self.sessions.get(&(link, session))?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.groups.iter().flat_map(|(_, names)| names).filter_map(|name| self.members.get(name))
    }

    /// All names, in the order for clients.
    pub(crate) fn names(&self) -> Vec<UserName> {
        self.groups.iter().flat_map(|(_, names)| names.iter().cloned()).collect()
    }

    pub(crate) fn members_behind(&self, link: LinkId) -> usize {
        self.links.get(&link).copied().unwrap_or(0)
    }

    pub(crate) fn has_grace(&self) -> bool {
        self.in_grace > 0
    }

    /// Adds a member, or puts it in another place; the name stays one member.
    pub(crate) fn put(&mut self, member: Member) {
        self.remove(&member.name);
        match &member.place {
            Place::Session { link, session, .. } => {
                *self.links.entry(*link).or_default() += 1;
                self.sessions.insert((*link, *session), member.name.clone());
            }
            Place::Grace { .. } => self.in_grace += 1,
            Place::Added => {}
        }
        let group = member.place.connector().cloned();
        match self.groups.iter_mut().find(|(connector, _)| *connector == group) {
            Some((_, names)) => names.push(member.name.clone()),
            None => self.groups.push((group, vec![member.name.clone()])),
        }
        self.members.insert(member.name.clone(), member);
    }

    /// Gives a member another place behind the same connector, and thus the same
    /// place in the order.
    pub(crate) fn relocate(&mut self, name: &UserName, place: Place) {
        let Some(member) = self.members.get_mut(name) else { return };
        if member.place.connector() != place.connector() {
            let member = Member { place, ..member.clone() };
            return self.put(member);
        }
        let old = std::mem::replace(&mut member.place, place.clone());
        self.forget_place(&old);
        match place {
            Place::Session { link, session, .. } => {
                *self.links.entry(link).or_default() += 1;
                self.sessions.insert((link, session), name.clone());
            }
            Place::Grace { .. } => self.in_grace += 1,
            Place::Added => {}
        }
    }

    /// Changes a member's right, from the entry after `since` on.
    pub(crate) fn grant(&mut self, name: &UserName, grant: Grant, since: Seq) {
        if let Some(member) = self.members.get_mut(name) {
            (member.grant, member.since) = (grant, since);
        }
    }

    pub(crate) fn remove(&mut self, name: &UserName) -> Option<Member> {
        let member = self.members.remove(name)?;
        self.forget_place(&member.place);
        let group = member.place.connector();
        if let Some(at) = self.groups.iter().position(|(connector, _)| connector.as_ref() == group)
        {
            let names = &mut self.groups[at].1;
            names.retain(|other| other != name);
            if names.is_empty() {
                self.groups.remove(at);
            }
        }
        Some(member)
    }

    fn forget_place(&mut self, place: &Place) {
        match place {
            Place::Session { link, session, .. } => {
                self.sessions.remove(&(*link, *session));
                let count = self.links.get_mut(link).expect("a member's link is counted");
                *count -= 1;
                if *count == 0 {
                    self.links.remove(link);
                }
            }
            Place::Grace { .. } => self.in_grace -= 1,
            Place::Added => {}
        }
    }

    #[cfg(debug_assertions)]
    pub(crate) fn check(&self) {
        let behind: usize = self.links.values().sum();
        assert_eq!(behind, self.sessions.len());
        let in_order: usize = self.groups.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(in_order, self.members.len());
        assert!(self.groups.iter().all(|(_, names)| !names.is_empty()));
    }
}

impl Hash for Roster {
    /// All else follows from the members and their order.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (connector, names) in &self.groups {
            connector.hash(state);
            for name in names {
                self.members.get(name).hash(state);
            }
        }
    }
}
