//! Threads that own a connection each, and the bounded queue before them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// Calls that may wait; further ones are refused.
const QUEUE_MAX: usize = 4096;
/// Calls that one transaction carries at most.
const GROUP_MAX: usize = 256;
/// How long a caller waits.
const TIMEOUT: Duration = Duration::from_secs(2);

const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// One call, whatever it returns.
pub(super) trait Job<C>: Send {
    /// Does it, perhaps a second time if the first was rolled back.
    fn run(&mut self, connection: &mut C) -> rusqlite::Result<()>;
    /// Tells the caller: what was run is committed, or an error.
    fn end(self: Box<Self>, error: Option<StoreError>);
    /// False if the caller has given up; else it cannot any more without doubt.
    fn begin(&self) -> bool;
}

struct Call<T, F> {
    run: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    state: Arc<AtomicU8>,
}

impl<C, T: Send, F> Job<C> for Call<T, F>
where
    F: FnMut(&mut C) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, connection: &mut C) -> rusqlite::Result<()> {
        self.result = Some((self.run)(connection)?);
        Ok(())
    }

    fn end(self: Box<Self>, error: Option<StoreError>) {
        let result = match (error, self.result) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => Ok(result),
            (None, None) => Err(StoreError::Unreachable("it was not begun".to_owned())),
        };
        // The caller may have gone.
        let _ = self.reply.send(result);
    }

    fn begin(&self) -> bool {
        let begun = self.state.compare_exchange(WAITS, BEGUN, Ordering::AcqRel, Ordering::Acquire);
        begun.is_ok() || self.state.load(Ordering::Acquire) == BEGUN
    }
}

/// Threads that take calls from one queue.
pub(super) struct Workers<C> {
    queue: Option<mpsc::Sender<Box<dyn Job<C>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl<C: Send + 'static> Workers<C> {
    /// Starts one thread for each connection; `serve` does a group of calls.
    pub(super) fn start(
        name: &str,
        connections: impl IntoIterator<Item = C>,
        serve: fn(&mut C, Vec<Box<dyn Job<C>>>),
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::new();
        for mut connection in connections {
            let jobs = Arc::clone(&jobs);
            let run = move || {
                while let Some(group) = next(&jobs) {
                    serve(&mut connection, group);
                }
            };
            threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        }
        Ok(Self { queue: Some(queue), threads })
    }

    /// Has a call done by one of the threads.
    ///
    /// # Errors
    ///
    /// As it says, or the queue is full, or it takes too long: then the outcome of a
    /// call that was begun is unknown.
    pub(super) async fn call<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut C) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(WAITS));
        let call = Call { run, result: None, reply, state: Arc::clone(&state) };
        let queue = self.queue.as_ref().expect("there until it is dropped");
        if queue.try_send(Box::new(call)).is_err() {
            return Err(StoreError::Unreachable("too many calls wait".to_owned()));
        }
        let late = || StoreError::Unknown("no answer of the disk in time".to_owned());
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StoreError::Unknown("the store's thread has ended".to_owned())),
            Err(_) => {
                let given_up =
                    state.compare_exchange(WAITS, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
                let waited = StoreError::Unreachable("it did not come to it in time".to_owned());
                Err(if given_up.is_ok() { waited } else { late() })
            }
        }
    }
}

/// Waits for a call and takes whatever else waits: the next group.
fn next<C>(jobs: &Mutex<mpsc::Receiver<Box<dyn Job<C>>>>) -> Option<Vec<Box<dyn Job<C>>>> {
    let mut jobs = jobs.lock().expect("a thread that waited has panicked");
    let mut group = Vec::new();
    (jobs.blocking_recv_many(&mut group, GROUP_MAX) > 0).then_some(group)
}

impl<C> Drop for Workers<C> {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A panic was reported by its hook.
            let _ = thread.join();
        }
    }
}
