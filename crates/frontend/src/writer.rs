//! The writing side of one connection.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use chassis::WriteHalf;
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncWrite;

use crate::{CloseReason, outgoing::Transport};

/// What one waiting piece costs beside its bytes.
const PIECE_COST: usize = size_of::<Bytes>();

/// Pieces that one system call takes.
const PIECES_PER_WRITE: usize = 64;

/// Capacity that an empty outbox may keep.
const IDLE_CAPACITY: usize = 8;

/// A socket, and what it has not taken yet.
#[derive(Debug)]
pub(crate) struct Writer {
    /// None once the connection is over.
    half: Option<WriteHalf>,
    outbox: VecDeque<Bytes>,
    /// Bytes in the outbox, with what they cost.
    waiting: usize,
    pub(crate) transport: Transport,
    /// Nothing may follow what is in the outbox.
    is_sealed: bool,
}

/// What became of bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pushed {
    /// The socket took them, or they were dropped because the end is near.
    Done,
    /// They wait; the session's task knows.
    Waiting,
    /// They wait here or in TLS, and the session's task must be told.
    WakeTask,
}

impl Writer {
    pub(crate) fn new(half: WriteHalf) -> Self {
        Self {
            half: Some(half),
            outbox: VecDeque::new(),
            waiting: 0,
            transport: Transport::WebSocket,
            is_sealed: false,
        }
    }

    /// Writes `bytes` now, or as much as the socket takes, and keeps the rest.
    ///
    /// # Errors
    ///
    /// Why the session must end: the rest would be more than `outbox_max`, or
    /// the socket is broken.
    pub(crate) fn push(
        &mut self,
        bytes: &Bytes,
        outbox_max: usize,
        writes: &Counter,
    ) -> Result<Pushed, CloseReason> {
        let Some(half) = self.half.as_mut().filter(|_| !self.is_sealed && !bytes.is_empty()) else {
            return Ok(Pushed::Done);
        };
        let was_empty = self.outbox.is_empty();
        let mut written = 0;
        if was_empty {
            match half.try_write(bytes) {
                Ok(n) => {
                    writes.inc();
                    written = n;
                }
                Err(error) if is_transient(&error) => {}
                Err(_) => return Err(CloseReason::PeerLost),
            }
            if written == bytes.len() {
                // TLS may have taken what its socket did not.
                let is_through = half.try_flush();
                return Ok(if is_through { Pushed::Done } else { Pushed::WakeTask });
            }
        }
        let cost = bytes.len() - written + PIECE_COST;
        if self.waiting + cost > outbox_max {
            return Err(CloseReason::SlowConsumer);
        }
        self.waiting += cost;
        self.outbox.push_back(bytes.slice(written..));
        Ok(if was_empty { Pushed::WakeTask } else { Pushed::Waiting })
    }

    /// Puts `bytes` last, whatever the bound: nothing is taken after them.
    pub(crate) fn seal(&mut self, bytes: Bytes) {
        // An empty piece would be written for ever, or be taken for a failure.
        if !std::mem::replace(&mut self.is_sealed, true) && !bytes.is_empty() {
            self.waiting += bytes.len() + PIECE_COST;
            self.outbox.push_back(bytes);
        }
    }

    /// Writes what waits. Pending until the socket has taken all of it.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        writes: &Counter,
    ) -> Poll<io::Result<()>> {
        let Some(half) = self.half.as_mut() else { return Poll::Ready(Ok(())) };
        while !self.outbox.is_empty() {
            let written = ready!(poll_write_some(half, &self.outbox, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            writes.inc();
            take(&mut self.outbox, &mut self.waiting, written);
        }
        if self.outbox.capacity() > IDLE_CAPACITY {
            self.outbox = VecDeque::new();
        }
        Pin::new(half).poll_flush(cx)
    }

    /// Tells the client that no byte will follow.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.half.as_mut() {
            Some(half) => Pin::new(half).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Gives up what waits, here and, once the socket is dropped, in the kernel,
    /// where it would stay for as long as the peer does not read.
    pub(crate) fn discard(&mut self) {
        (self.outbox, self.waiting, self.is_sealed) = (VecDeque::new(), 0, true);
        if let Some(half) = &self.half {
            half.reset_on_drop();
        }
    }

    /// Lets go of the socket. What waits is given up.
    pub(crate) fn finish(&mut self) {
        if !self.outbox.is_empty() {
            self.discard();
        }
        self.half = None;
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn poll_write_some(
    half: &mut WriteHalf,
    outbox: &VecDeque<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if let [only] = outbox.as_slices().0
        && outbox.len() == 1
    {
        return Pin::new(half).poll_write(cx, only);
    }
    let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
    for (slice, bytes) in slices.iter_mut().zip(outbox) {
        *slice = IoSlice::new(bytes);
    }
    let count = outbox.len().min(PIECES_PER_WRITE);
    Pin::new(half).poll_write_vectored(cx, &slices[..count])
}

/// Removes the first `written` bytes.
fn take(outbox: &mut VecDeque<Bytes>, waiting: &mut usize, mut written: usize) {
    while written > 0 {
        let first = outbox.front_mut().expect("no more is written than waits");
        let part = written.min(first.len());
        first.advance(part);
        written -= part;
        *waiting -= part;
        if first.is_empty() {
            outbox.pop_front();
            *waiting -= PIECE_COST;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use chassis::Stream;
    use proptest::prelude::*;
    use tokio::io::{AsyncRead, DuplexStream, ReadBuf};

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Flush,
        /// The client reads up to so many bytes.
        Read(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..90_usize).prop_map(Step::Push),
            Just(Step::Flush),
            (1..150_usize).prop_map(Step::Read),
        ]
    }

    fn read(client: &mut DuplexStream, len: usize, into: &mut Vec<u8>) {
        let mut scratch = vec![0; len];
        let mut buf = ReadBuf::new(&mut scratch);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if Pin::new(client).poll_read(&mut cx, &mut buf).is_ready() {
            into.extend_from_slice(buf.filled());
        }
    }

    /// Takes all that is written, as TLS does, and sends it on when it is flushed.
    #[derive(Debug, Default)]
    struct Hoarder {
        held: Vec<u8>,
        sent: Arc<Mutex<Vec<u8>>>,
        may_send: Arc<AtomicBool>,
    }

    impl AsyncRead for Hoarder {
        fn poll_read(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Hoarder {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.may_send.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            let held = std::mem::take(&mut self.held);
            self.sent.lock().unwrap().extend(held);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_a_stream_holds_back_is_flushed_by_the_task() {
        let hoarder = Hoarder::default();
        let (sent, may_send) = (Arc::clone(&hoarder.sent), Arc::clone(&hoarder.may_send));
        let (_read, half) = Stream::Other(Box::new(hoarder)).into_split();
        let (mut writer, writes) = (Writer::new(half), Counter::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let pushed = writer.push(&Bytes::from_static(b"hi"), 100, &writes);
        assert_eq!(pushed, Ok(Pushed::WakeTask));
        assert!(writer.poll_flush(&mut cx, &writes).is_pending());
        may_send.store(true, Ordering::Relaxed);
        assert!(writer.poll_flush(&mut cx, &writes).is_ready());
        assert_eq!(*sent.lock().unwrap(), b"hi");
        assert_eq!(writer.push(&Bytes::from_static(b"!"), 100, &writes), Ok(Pushed::Done));
        assert_eq!(*sent.lock().unwrap(), b"hi!");
    }

    proptest! {
        #[test]
        fn what_was_taken_arrives_in_order_and_the_bound_holds(
            steps in prop::collection::vec(any_step(), 1..200),
        ) {
            const OUTBOX_MAX: usize = 300;
            let (ours, mut client) = tokio::io::duplex(64);
            let (_read, half) = Stream::Other(Box::new(ours)).into_split();
            let (mut writer, writes) = (Writer::new(half), Counter::default());
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let (mut taken, mut arrived, mut next) = (Vec::new(), Vec::new(), 0_u8);
            for step in steps {
                match step {
                    Step::Push(len) => {
                        next = next.wrapping_add(1);
                        let bytes = Bytes::from(vec![next; len]);
                        let (was_empty, waiting) = (writer.outbox.is_empty(), writer.waiting);
                        match writer.push(&bytes, OUTBOX_MAX, &writes) {
                            Ok(pushed) => {
                                taken.extend_from_slice(&bytes);
                                let wakes = was_empty && !writer.outbox.is_empty();
                                prop_assert_eq!(pushed == Pushed::WakeTask, wakes);
                            }
                            Err(reason) => {
                                prop_assert_eq!(reason, CloseReason::SlowConsumer);
                                prop_assert!(waiting + len + PIECE_COST > OUTBOX_MAX);
                                break;
                            }
                        }
                    }
                    Step::Flush => {
                        let flushed = writer.poll_flush(&mut cx, &writes);
                        prop_assert_eq!(flushed.is_ready(), writer.outbox.is_empty());
                    }
                    Step::Read(len) => read(&mut client, len, &mut arrived),
                }
                let waiting: usize = writer.outbox.iter().map(|b| b.len() + PIECE_COST).sum();
                prop_assert_eq!(writer.waiting, waiting);
                prop_assert!(waiting <= OUTBOX_MAX);
            }
            while writer.poll_flush(&mut cx, &writes).is_pending() {
                read(&mut client, 64, &mut arrived);
            }
            read(&mut client, 64, &mut arrived);
            // What was refused may have been written in part.
            prop_assert_eq!(&arrived[..taken.len()], taken);
        }
    }
}
