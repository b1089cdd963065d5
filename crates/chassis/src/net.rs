//! The only place that opens sockets.
//!
//! Real processes get TCP; simulations hand in a [`Network`] of their own. The hot
//! path (a session's write) stays a direct system call: [`WriteHalf`] is an enum,
//! not a trait object.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, tcp},
};

use crate::{GrpcTls, StartError};

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin + 'static> Io for T {}

/// Any [`Io`], on the heap.
pub type BoxIo = Box<dyn Io>;

/// A network that is not the machine's: a simulation.
pub trait Network: Send + Sync {
    /// Opens a listener on `addr`.
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listen>>>;
    /// Connects to `addr`, a `host:port`.
    fn dial(&self, addr: String) -> BoxFuture<'static, io::Result<BoxIo>>;
}

/// A simulated listener.
pub trait Listen: Send {
    /// Waits for the next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>>;
    /// Where it listens.
    fn local_addr(&self) -> SocketAddr;
}

/// Makes listeners and connections. Clones share.
#[derive(Clone, Default)]
pub struct Net {
    pub(crate) simulated: Option<Arc<dyn Network>>,
    /// What gRPC connections are secured with, in both directions.
    pub(crate) grpc_tls: Option<GrpcTls>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.simulated.is_some() { "Net(simulated)" } else { "Net(real)" })
    }
}

/// Connecting to a peer that is up takes far less; a deleted pod's address takes for ever.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A peer that is silent for a minute is asked whether it is there; one that does
/// not answer for another is gone.
const KEEPALIVE: socket2::TcpKeepalive = socket2::TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// Connections that the kernel may hold before the process accepts them.
const BACKLOG: u32 = 4096;

impl Net {
    /// TCP on this machine.
    #[must_use]
    pub fn real() -> Self {
        Self::default()
    }

    /// A simulated network.
    #[must_use]
    pub fn simulated(network: Arc<dyn Network>) -> Self {
        Self { simulated: Some(network), grpc_tls: None }
    }

    /// Takes a port.
    ///
    /// # Errors
    ///
    /// A port in use or an address that is not this machine's is a [`StartError`]
    /// that names `flag`.
    pub async fn listen(&self, addr: SocketAddr, flag: &str) -> Result<Listener, StartError> {
        let listener = match &self.simulated {
            None => listen_tcp(addr).map(Listener::Tcp),
            Some(network) => network.listen(addr).await.map(Listener::Simulated),
        };
        listener.map_err(|error| StartError(format!("cannot listen on {addr} ({flag}): {error}")))
    }

    /// Connects to `addr`, a `host:port`, within 2 s, without Nagle's delay.
    ///
    /// # Errors
    ///
    /// What the network says, or [`io::ErrorKind::TimedOut`].
    #[allow(clippy::disallowed_methods, reason = "this is the place")]
    pub async fn dial(&self, addr: &str) -> io::Result<Stream> {
        let dial = async {
            match &self.simulated {
                None => {
                    let stream = TcpStream::connect(addr).await?;
                    stream.set_nodelay(true)?;
                    Ok(Stream::Tcp(stream))
                }
                Some(network) => network.dial(addr.to_owned()).await.map(Stream::Other),
            }
        };
        tokio::time::timeout(CONNECT_TIMEOUT, dial).await?
    }

    /// All addresses that `addr` has, a `host:port`, in the order of preference of the
    /// machine. Bounded by what its resolver takes, in time and number.
    ///
    /// # Errors
    ///
    /// What the resolver says; in a simulation, a name has none.
    pub async fn addresses(&self, addr: &str) -> io::Result<Vec<SocketAddr>> {
        match &self.simulated {
            None => Ok(tokio::net::lookup_host(addr).await?.collect()),
            Some(_) => {
                let parsed = addr.parse().map_err(|_| io::ErrorKind::NotFound)?;
                Ok(vec![parsed])
            }
        }
    }
}

fn listen_tcp(addr: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// A port that was taken.
pub enum Listener {
    /// The machine's.
    Tcp(tokio::net::TcpListener),
    /// A simulation's.
    Simulated(Box<dyn Listen>),
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({:?})", self.local_addr().ok())
    }
}

impl Listener {
    /// Where it listens; tells the port if 0 was asked for.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Simulated(listener) => Ok(listener.local_addr()),
        }
    }

    /// Waits for the next connection. Cancel-safe.
    ///
    /// # Errors
    ///
    /// What the operating system says; running out of descriptors is one that
    /// passes, so callers wait and go on.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // Who vanished without a word is noticed where no heartbeat does it.
                socket2::SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Simulated(listener) => {
                listener.accept().await.map(|(io, peer)| (Stream::Other(io), peer))
            }
        }
    }
}

/// One connection.
pub enum Stream {
    /// The machine's.
    Tcp(TcpStream),
    /// A simulation's, or one wrapped by TLS.
    Other(BoxIo),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl Stream {
    /// Waits for the first byte, and leaves it to be read. None at the stream's end.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`io::ErrorKind::Unsupported`] for what is not
    /// a socket.
    pub async fn peek_first(&mut self) -> io::Result<Option<u8>> {
        let Self::Tcp(stream) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut first = [0];
        let read = stream.peek(&mut first).await?;
        Ok((read > 0).then_some(first[0]))
    }

    /// Separates reading from writing, so that two tasks can do them.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Self::Other(io) => {
                let (read, write) = tokio::io::split(io);
                (ReadHalf::Other(read), WriteHalf::Other(write))
            }
        }
    }
}

/// The reading side of a [`Stream`].
#[derive(Debug)]
pub enum ReadHalf {
    /// The machine's.
    Tcp(tcp::OwnedReadHalf),
    /// A simulation's, or one wrapped by TLS.
    Other(tokio::io::ReadHalf<BoxIo>),
}

/// The writing side of a [`Stream`].
#[derive(Debug)]
pub enum WriteHalf {
    /// The machine's.
    Tcp(tcp::OwnedWriteHalf),
    /// A simulation's, or one wrapped by TLS.
    Other(tokio::io::WriteHalf<BoxIo>),
}

impl WriteHalf {
    /// Writes what fits now, from whatever task. What was taken may wait in here
    /// until somebody calls `poll_flush`: see [`WriteHalf::try_flush`].
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if nothing fits; the task that owns the
    /// connection then has to `poll_write`, which waits.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(bytes),
            Self::Other(half) => {
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(half).poll_write(&mut cx, bytes) {
                    Poll::Ready(written) => written,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// True if all that was written is on its way. Else the task that owns the
    /// connection has to `poll_flush`.
    pub fn try_flush(&mut self) -> bool {
        match self {
            Self::Tcp(_) => true,
            Self::Other(half) => {
                let mut cx = Context::from_waker(Waker::noop());
                // What is broken will be found out by whoever waits.
                matches!(Pin::new(half).poll_flush(&mut cx), Poll::Ready(Ok(())))
            }
        }
    }

    /// Has the connection end with a reset once both halves are dropped, so that
    /// the kernel gives up, too, what the peer has not read. Real ones only.
    pub fn reset_on_drop(&self) {
        if let Self::Tcp(half) = self {
            // Fails only on a socket that is closed already.
            let _ = half.as_ref().set_zero_linger();
        }
    }
}

macro_rules! delegate {
    ($self:ident, $method:ident($($arg:expr),*)) => {
        match $self.get_mut() {
            Self::Tcp(io) => Pin::new(io).$method($($arg),*),
            Self::Other(io) => Pin::new(io).$method($($arg),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read(cx, buf))
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(cx))
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(half) => half.is_write_vectored(),
            Self::Other(half) => half.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(cx))
    }
}
