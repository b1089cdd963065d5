//! One thing that happens.

use std::fmt;

use room::Input;

use crate::{
    Guard,
    statement::{Claim, Statement},
    world::{Link, World},
};

/// One thing that happens, at once.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Action {
    /// A connector takes the room to a shard.
    Route(usize, usize),
    /// What was sent over a link first arrives.
    Arrive(u64),
    /// A connector loses the link that it uses.
    Cut(usize),
    /// A shard finds out that a link is gone.
    Notice(u64),
    /// A connector leaves its shard.
    Leave(usize),
    /// A shard begins something.
    Begin(usize, Task),
    /// The statement sees the rows that are there.
    See(usize, Task),
    /// The statement inserts, and is committed.
    Commit(usize, Task),
    /// The shard is told how it ended.
    Tell(usize, Task),
    /// The shard is told that nobody knows how it ended.
    Lose(usize, Task),
    /// The shard is told that the store did not do it.
    Refuse(usize, Task),
    /// A shard has read the log for somebody.
    Read(usize, usize),
    /// A shard answers somebody for whom it has read the log.
    Replay(usize, usize),
    /// A shard asks the store who has the room.
    Learn(usize),
    /// A shard gives the room up, for its view says so.
    Release(usize),
    /// A shard dies, and comes back with nothing.
    Crash(usize),
    /// A statement that nobody waits for is carried out after all.
    Land(usize),
    /// Retention leaves so many entries.
    Retain(u64),
    /// A day goes by.
    Age,
    /// An operator says `store new-epoch`.
    Renew,
    /// The store is set back to where it had so many entries.
    Restore(u64),
    /// Nothing can happen any more, and somebody waits for an answer.
    Stop,
}

/// What a shard has under way at the store.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Task {
    /// A claim.
    Claim,
    /// An append.
    Append,
    /// A read of the head.
    Head,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |task: &Task| match task {
            Task::Claim => "claim",
            Task::Append => "append",
            Task::Head => "read of the head",
        };
        let link = |id: &u64| format!("from connector {} to shard {}", id / 100, id / 10 % 10);
        match self {
            Self::Route(at, shard) => write!(f, "connector {at} takes the room to shard {shard}"),
            Self::Arrive(id) => write!(f, "what was sent {} arrives", link(id)),
            Self::Cut(at) => write!(f, "connector {at} loses its link"),
            Self::Notice(id) => write!(f, "the link {} is found to be gone", link(id)),
            Self::Leave(at) => write!(f, "connector {at} leaves its shard for another"),
            Self::Begin(at, task) => write!(f, "shard {at} begins its {}", name(task)),
            Self::See(at, task) => write!(f, "shard {at}'s {} sees the log", name(task)),
            Self::Commit(at, task) => write!(f, "shard {at}'s {} is carried out", name(task)),
            Self::Tell(at, task) => write!(f, "shard {at} hears how its {} ended", name(task)),
            Self::Lose(at, task) => {
                write!(f, "shard {at} does not hear how its {} ended", name(task))
            }
            Self::Refuse(at, task) => write!(f, "shard {at}'s {} is refused", name(task)),
            Self::Read(at, _) => write!(f, "shard {at} reads what was missed"),
            Self::Replay(at, _) => write!(f, "shard {at} has read what was missed"),
            Self::Learn(at) => write!(f, "shard {at} finds out that the room is not its own"),
            Self::Release(at) => write!(f, "shard {at} gives the room to another"),
            Self::Crash(at) => write!(f, "shard {at} dies, and starts again"),
            Self::Land(_) => f.write_str("what nobody waits for is carried out"),
            Self::Retain(entries) => write!(f, "retention keeps {entries} entries"),
            Self::Age => f.write_str("a day goes by"),
            Self::Renew => f.write_str("the operator says store new-epoch"),
            Self::Stop => f.write_str("nothing happens any more"),
            Self::Restore(head) => write!(f, "the store is set back to entry {head}"),
        }
    }
}

impl World {
    /// What `action` is, here.
    pub(crate) fn describe(&self, action: Action) -> String {
        match action {
            Action::Arrive(id) => {
                let link = self.links.iter().find(|link| link.id.0 == id);
                let first = link.and_then(|link| Some((link, link.queue.front()?)));
                first.map_or_else(String::new, |(link, command)| {
                    let what = match &command.input {
                        Input::Join(_) => "to enter".to_owned(),
                        Input::Rejoin(_) => "to come back".to_owned(),
                        Input::Publish(publish) => format!("to say {}", publish.content),
                        _ => "something else".to_owned(),
                    };
                    let Link { connector, shard, .. } = link;
                    format!("connector {connector} asks shard {shard}, {what}")
                })
            }
            Action::Land(index) => match &self.late[index] {
                Statement::Claim(Claim { shard, .. }) => {
                    format!("a late claim of shard {shard} is carried out")
                }
                Statement::Append(append) => {
                    let says: Vec<String> =
                        append.messages.iter().map(ToString::to_string).collect();
                    format!("a late append of {} is carried out", says.join(", "))
                }
            },
            Action::Commit(at, Task::Claim) if self.is_beaten(at) => {
                format!("shard {at}'s claim finds its number taken, and looks again")
            }
            _ => action.to_string(),
        }
    }

    fn is_beaten(&self, at: usize) -> bool {
        let claim = self.shards[at].claiming.as_ref();
        claim.is_some_and(|(claim, _)| claim.is_beaten(&self.log))
            && self.without != Some(Guard::ClaimsAreRepeated)
    }
}
