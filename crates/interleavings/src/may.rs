//! What may happen next.

use crate::{
    action::{Action, Task},
    connector::Route,
    scenario::Order,
    shard::{Shard, Slot},
    shared::Shared,
    world::{CONNECTORS, SHARDS, World},
};

impl World {
    /// All that may happen now.
    pub(crate) fn enabled(&self, actions: &mut Vec<Action>) {
        if self.broken.is_some() {
            return;
        }
        for at in 0..CONNECTORS {
            self.connector_may(at, actions);
        }
        for link in self.links.iter() {
            if !link.queue.is_empty() {
                actions.push(Action::Arrive(link.id.0));
            }
            if link.is_cut {
                actions.push(Action::Notice(link.id.0));
            }
        }
        for at in 0..SHARDS {
            self.shard_may(at, actions);
        }
        self.store_may(actions);
        if actions.is_empty() && self.left.claims > 0 && !self.is_answered() {
            actions.push(Action::Stop);
        }
    }

    fn connector_may(&self, at: usize, actions: &mut Vec<Action>) {
        let connector = &self.connectors[at];
        match connector.route {
            Route::Wanted if connector.is_of_use() && self.may_begin(at) => {
                // Which shard comes first makes no difference.
                let is_first =
                    self.left.claims > 0 && self.links.is_empty() && self.log.room.is_none();
                let shards = if is_first { 0..1 } else { 0..SHARDS };
                actions.extend(shards.map(|shard| Action::Route(at, shard)));
            }
            Route::Wanted => {}
            Route::Rejoining(_) | Route::Live(_) => {
                if self.left.may(self.left.cuts) {
                    actions.push(Action::Cut(at));
                }
                if self.left.may(self.left.moves) {
                    actions.push(Action::Leave(at));
                }
            }
        }
    }

    fn may_begin(&self, at: usize) -> bool {
        let [first, _] = &self.connectors;
        at == 0
            || self.connectors[at].was_in()
            || match self.order {
                Order::AtOnce => true,
                Order::OnceIn => first.was_in(),
                Order::OnceDone => first.pending.is_empty(),
            }
    }

    fn shard_may(&self, at: usize, actions: &mut Vec<Action>) {
        let shard = &self.shards[at];
        if self.left.may(self.left.crashes) && **shard != Shard::default() {
            actions.push(Action::Crash(at));
        }
        match &shard.slot {
            Slot::Claiming { .. } if shard.claiming.is_none() && self.left.claims > 0 => {
                actions.push(Action::Begin(at, Task::Claim));
            }
            Slot::Open(open) => {
                if open.dirty && shard.appending.is_none() {
                    actions.push(Action::Begin(at, Task::Append));
                }
                if self.left.may(self.left.releases) {
                    actions.push(Action::Release(at));
                }
                if self.log.restored || self.log.fence().is_some_and(|f| f > open.room.fence()) {
                    actions.push(Action::Learn(at));
                }
            }
            _ => {}
        }
        if let Some((claim, end)) = &shard.claiming {
            self.task_may(at, Task::Claim, claim.saw.is_some(), end.is_some(), actions);
        }
        if let Some(appending) = &shard.appending {
            let (began, ended) = (appending.statement.passes.is_some(), appending.result.is_some());
            self.task_may(at, Task::Append, began, ended, actions);
        }
        match shard.head_read {
            Some(_) => actions.push(Action::Tell(at, Task::Head)),
            None if shard.wants_head && !self.log.restored => {
                actions.push(Action::Begin(at, Task::Head));
            }
            None => {}
        }
        for (index, replaying) in shard.replays.iter().enumerate() {
            match replaying.was_read() {
                true => actions.push(Action::Replay(at, index)),
                false if self.log.restored => {}
                false => actions.push(Action::Read(at, index)),
            }
        }
    }

    fn task_may(&self, at: usize, task: Task, began: bool, ended: bool, actions: &mut Vec<Action>) {
        actions.push(match (began, ended) {
            (_, true) => Action::Tell(at, task),
            (true, false) => Action::Commit(at, task),
            (false, false) => Action::See(at, task),
        });
        if self.left.may(self.left.unknowns) {
            actions.push(Action::Lose(at, task));
        }
        if self.left.may(self.left.refusals) && !ended {
            actions.push(Action::Refuse(at, task));
        }
    }

    fn store_may(&self, actions: &mut Vec<Action>) {
        actions.extend((0..self.late.len()).map(Action::Land));
        let head = self.log.head();
        if self.left.retentions > 0 && head > self.log.taken() {
            actions.extend((0..head.min(2)).map(Action::Retain));
        }
        let is_idle = |shard: &Shared<Shard>| {
            shard.claiming.is_none() && shard.appending.is_none() && shard.replays.is_empty()
        };
        // Nothing takes a day.
        if self.left.days > 0 && head > 0 && self.shards.iter().all(is_idle) {
            actions.push(Action::Age);
        }
        if head > 0 && (self.left.epochs > 0 || self.log.restored) {
            actions.push(Action::Renew);
        }
        if self.left.restores > 0 && !self.log.restored {
            actions.extend((1..head).map(Action::Restore));
        }
    }
}
