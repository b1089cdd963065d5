//! The seam between `chassis` and turmoil.

use std::{
    fmt,
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use chassis::{BoxIo, Listen, Network};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// The network of the simulated host that it is used on, for one life of it.
/// Clones share the sockets.
#[derive(Clone, Debug, Default)]
pub struct Turmoil(Arc<Mutex<Sockets>>);

#[derive(Debug, Default)]
struct Sockets {
    open: Vec<Weak<Mutex<Plug>>>,
    is_off: bool,
}

/// A socket, until it is pulled.
#[derive(Debug)]
struct Plug(Option<TcpStream>);

/// One connection. Once its host is off, it never does anything again.
struct Connection(Arc<Mutex<Plug>>);

struct Port {
    listener: TcpListener,
    addr: SocketAddr,
    network: Turmoil,
}

impl Turmoil {
    /// Closes all sockets, in the order in which they were opened, as the kernel
    /// does when a process is killed. What runs on notices nothing.
    ///
    /// Were they closed by the end of the tasks that hold them, the order would be
    /// that of tokio's task numbers, which count on from run to run.
    pub(crate) fn power_off(&self) {
        let open = {
            let mut sockets = lock(&self.0);
            sockets.is_off = true;
            std::mem::take(&mut sockets.open)
        };
        for plug in open.iter().filter_map(Weak::upgrade) {
            lock(&plug).0 = None;
        }
    }

    fn is_off(&self) -> bool {
        lock(&self.0).is_off
    }

    fn plug_in(&self, stream: TcpStream) -> BoxIo {
        let plug = Arc::new(Mutex::new(Plug(Some(stream))));
        let mut sockets = lock(&self.0);
        sockets.open.retain(|plug| plug.strong_count() > 0);
        sockets.open.push(Arc::downgrade(&plug));
        Box::new(Connection(plug))
    }
}

impl Network for Turmoil {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listen>>> {
        let network = self.clone();
        Box::pin(async move {
            // A simulated host has one address, which it does not know.
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, addr.port())).await?;
            Ok(Box::new(Port { listener, addr, network }) as Box<dyn Listen>)
        })
    }

    fn dial(&self, addr: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let network = self.clone();
        Box::pin(async move {
            if network.is_off() {
                return pending().await;
            }
            Ok(network.plug_in(TcpStream::connect(addr).await?))
        })
    }
}

impl Listen for Port {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok((self.network.plug_in(stream), peer))
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Connection {
    fn poll<T>(&self, poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<T>) -> Poll<T> {
        match &mut lock(&self.0).0 {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}

/// Nothing here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
