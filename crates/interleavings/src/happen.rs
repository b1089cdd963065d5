//! What follows from something that happens.

use room::{AppendResult, Input};

use crate::{
    action::{Action, Task},
    shared::Shared,
    statement::Statement,
    world::{SHARDS, World},
};

impl World {
    /// What follows from something that happens.
    pub(crate) fn happen(&mut self, action: Action) {
        match action {
            Action::Route(at, shard) => self.route(at, shard),
            Action::Arrive(link) => self.arrive(link),
            Action::Cut(at) => {
                self.left.cuts -= 1;
                self.left.faults -= 1;
                self.leave(at, true);
            }
            Action::Leave(at) => {
                self.left.moves -= 1;
                self.left.faults -= 1;
                self.leave(at, false);
            }
            Action::Notice(link) => {
                let gone = self.links.iter().find(|l| l.id.0 == link);
                if let Some((shard, id)) = gone.map(|link| (link.shard, link.id)) {
                    self.lose_link(shard, id);
                }
            }
            Action::Begin(at, task) => self.begin(at, task),
            Action::See(at, task) => self.see(at, task),
            Action::Commit(at, task) => self.commit(at, task),
            Action::Tell(at, task) => self.end(at, task),
            Action::Lose(at, task) => {
                self.left.unknowns -= 1;
                self.left.faults -= 1;
                self.lose(at, task);
            }
            Action::Refuse(at, task) => {
                self.left.refusals -= 1;
                self.left.faults -= 1;
                self.fail(at, task, &AppendResult::Failed);
                self.end(at, task);
            }
            Action::Read(at, index) => self.read_log(at, index),
            Action::Replay(at, index) => self.end_replay(at, index),
            Action::Learn(at) => self.learn(at),
            Action::Release(at) => {
                self.left.releases -= 1;
                self.left.faults -= 1;
                self.release(at);
            }
            Action::Crash(at) => self.crash(at),
            Action::Stop => self.breaks(0, "somebody waits for an answer for ever".into()),
            _ => self.store_does(action),
        }
        if self.without.is_none() && self.left.days == 0 {
            // Two states that differ in these only are one.
            let log = &self.log;
            self.late.retain(|statement| !statement.is_in_vain(log));
        }
        self.look();
    }

    fn store_does(&mut self, action: Action) {
        match action {
            Action::Land(index) => match self.late.remove(index) {
                Statement::Claim(mut claim) => {
                    if claim.saw.is_none() {
                        claim.begin(&mut self.log);
                    }
                    claim.commit(&mut self.log, self.without);
                }
                Statement::Append(mut append) => {
                    if append.passes.is_none() {
                        append.begin(&self.log, self.without);
                    }
                    append.commit(&mut self.log, self.without);
                }
            },
            Action::Retain(entries) => {
                self.left.retentions -= 1;
                self.log.retain(entries, self.without);
            }
            Action::Age => {
                self.left.days -= 1;
                self.age();
            }
            Action::Renew => {
                self.left.epochs = self.left.epochs.saturating_sub(1);
                self.log.renew(self.without);
            }
            Action::Restore(head) => {
                self.left.restores -= 1;
                self.restore(head);
            }
            _ => {}
        }
    }

    /// A day goes by. Statements that nobody waits for have ended, or did not begin yet;
    /// and no shard sleeps for a day.
    fn age(&mut self) {
        (0..SHARDS).for_each(|at| self.learn(at));
        self.log.age();
        self.late.iter_mut().for_each(|late| match late {
            Statement::Claim(claim) => claim.saw = None,
            Statement::Append(append) => append.passes = None,
        });
    }

    fn arrive(&mut self, id: u64) {
        let fence = self.fence();
        let Some(link) = self.links.iter_mut().find(|link| link.id.0 == id) else { return };
        let Some(command) = link.queue.pop_front() else { return };
        let (shard, at) = (link.shard, link.connector);
        let connector = &mut self.connectors[at];
        match &command.input {
            Input::Join(_) => {
                connector.asked.get_or_insert(fence);
            }
            Input::Rejoin(rejoin) if connector.waits_for(rejoin.request_id) => {
                connector.asked = Some(fence);
            }
            _ => {}
        }
        self.submit(shard, command);
    }

    fn leave(&mut self, at: usize, cuts: bool) {
        let link = self.connectors[at].route.link();
        self.connectors[at].detach();
        if let Some(link) = link.filter(|_| cuts)
            && let Some(link) = self.link_mut(link)
        {
            link.is_cut = true;
        }
    }

    fn begin(&mut self, at: usize, task: Task) {
        match task {
            Task::Claim => {
                self.left.claims -= 1;
                self.begin_claim(at);
                if self.log.room.is_some() {
                    self.see(at, task);
                }
            }
            Task::Append => {
                self.begin_append(at);
                self.see(at, task);
            }
            Task::Head => self.begin_head(at),
        }
    }

    fn see(&mut self, at: usize, task: Task) {
        if self.log.restored {
            return self.fail(at, task, &AppendResult::Unknown);
        }
        let shard = &mut self.shards[at];
        match task {
            Task::Claim => {
                let Some((claim, _)) = &mut shard.claiming else { return };
                claim.begin(&mut self.log);
            }
            Task::Append => {
                let Some(appending) = &mut shard.appending else { return };
                appending.statement.begin(&self.log, self.without);
            }
            Task::Head => {}
        }
    }

    fn commit(&mut self, at: usize, task: Task) {
        let shard = &mut self.shards[at];
        match task {
            Task::Claim => {
                let Some((claim, end)) = &mut shard.claiming else { return };
                *end = claim.commit(&mut self.log, self.without).map(Ok);
                if end.is_none() {
                    claim.begin(&mut self.log);
                }
            }
            Task::Append => {
                let Some(appending) = &mut shard.appending else { return };
                let result = appending.statement.commit(&mut self.log, self.without);
                appending.result = Some(result);
            }
            Task::Head => {}
        }
    }

    fn end(&mut self, at: usize, task: Task) {
        match task {
            Task::Claim => self.end_claim(at),
            Task::Append => self.end_append(at),
            Task::Head => self.end_head(at),
        }
    }

    /// The store does not do it.
    fn fail(&mut self, at: usize, task: Task, result: &AppendResult) {
        let shard = &mut self.shards[at];
        match task {
            Task::Claim => {
                shard.claiming.iter_mut().for_each(|(_, end)| *end = Some(Err(())));
            }
            Task::Append => {
                shard.appending.iter_mut().for_each(|a| a.result = Some(result.clone()));
            }
            Task::Head => {}
        }
    }

    /// The shard gives up waiting. What was not done may be done later.
    fn lose(&mut self, at: usize, task: Task) {
        self.abandon(at, task);
        self.fail(at, task, &AppendResult::Unknown);
        self.end(at, task);
    }

    fn abandon(&mut self, at: usize, task: Task) {
        let shard = &self.shards[at];
        let late = match task {
            Task::Claim => match &shard.claiming {
                Some((claim, None)) => Some(Statement::Claim(claim.clone())),
                _ => None,
            },
            Task::Append => match &shard.appending {
                Some(appending) if appending.result.is_none() => {
                    Some(Statement::Append(appending.statement.clone()))
                }
                _ => None,
            },
            Task::Head => None,
        };
        self.late.extend(late);
        self.late.sort();
    }

    fn crash(&mut self, at: usize) {
        self.left.crashes -= 1;
        self.left.faults -= 1;
        self.abandon(at, Task::Claim);
        self.abandon(at, Task::Append);
        self.shards[at] = Shared::default();
        let ends: Vec<_> = self.links.iter().filter(|l| l.shard == at).map(|l| l.id).collect();
        self.links.retain(|link| link.shard != at);
        for connector in &mut self.connectors {
            if connector.route.link().is_some_and(|link| ends.contains(&link)) {
                connector.detach();
            }
        }
    }

    /// The store is another one now: what was under way is gone with the old.
    fn restore(&mut self, head: u64) {
        self.log.restore(head);
        self.late.clear();
        for at in 0..SHARDS {
            self.fail(at, Task::Claim, &AppendResult::Unknown);
            self.fail(at, Task::Append, &AppendResult::Unknown);
            self.shards[at].head_read = self.shards[at].head_read.map(|(fence, _)| (fence, None));
        }
    }
}
