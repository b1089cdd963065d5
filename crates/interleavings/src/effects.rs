//! What a shard does with what its room says (`chat::rooms::effects`).

use model::{Fence, LinkId};
use room::{Command, Effect, Event, Input, Outcome, Refusal};

use crate::{Guard, shard::Open, world::World};

impl World {
    /// True if the room has to be dropped.
    pub(crate) fn apply(&mut self, at: usize, open: &mut Open, input: Input) -> bool {
        if self.without != Some(Guard::LastLinkCounts) && self.is_outdated(&input) {
            return false;
        }
        let mut effects = Vec::new();
        open.room.apply(input, &mut effects);
        let attached = effects.iter().filter_map(|effect| match effect {
            Effect::Attach { link } if self.links.iter().all(|l| l.id != *link) => Some(*link),
            _ => None,
        });
        for link in attached.collect::<Vec<_>>() {
            open.room.apply(Input::LinkLost { link, now_ms: 0 }, &mut effects);
        }
        let fence = open.room.fence();
        let mut closed = false;
        for effect in effects {
            match effect {
                Effect::Send { link, event, .. } => self.tell(link, fence, event),
                Effect::Append => open.dirty = true,
                Effect::Closed => closed = true,
                Effect::Attach { .. } | Effect::Detach { .. } => {}
                Effect::Answer { .. } | Effect::Seek { .. } | Effect::ReadLog { .. } => {
                    let shard = at;
                    self.breaks(0, format!("shard {shard} does what nobody asked for"));
                }
            }
        }
        closed
    }

    /// True if a session is brought over a link whose connector has opened another one.
    fn is_outdated(&self, input: &Input) -> bool {
        let id = match input {
            Input::Join(join) => join.link,
            Input::Rejoin(rejoin) => rejoin.link,
            _ => return false,
        };
        self.links.iter().any(|link| link.id.0 / 10 == id.0 / 10 && link.id > id)
    }

    fn tell(&mut self, link: LinkId, fence: Fence, event: Event) {
        match &event {
            Event::Entry { entry, .. } => self.check_pushed(entry),
            Event::Reply { outcome: Ok(Outcome::Rejoined { entries, .. }), .. } => {
                entries.iter().for_each(|entry| self.check_pushed(entry));
            }
            _ => {}
        }
        if let Some(connector) = self.hearer(link) {
            self.hear(connector, link, fence, event);
        }
    }

    /// Refuses a command that no room took.
    pub(crate) fn refuse(&mut self, command: &Command, refusal: Refusal) {
        let (link, request_id) = match &command.input {
            Input::Join(join) => (join.link, join.request_id),
            Input::Rejoin(rejoin) => (rejoin.link, rejoin.request_id),
            Input::Publish(publish) => match publish.origin {
                room::Origin::Session { link, request_id, .. } => (link, request_id),
                room::Origin::Call { .. } => return,
            },
            _ => return,
        };
        let event = Event::Reply { request_id, outcome: Err(refusal) };
        self.tell(link, Fence::default(), event);
    }
}
