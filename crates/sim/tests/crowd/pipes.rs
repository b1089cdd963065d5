//! A network within the process.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use chassis::{BoxIo, Listen, Net, Network};
use futures::future::BoxFuture;
use tokio::{io::DuplexStream, sync::mpsc};

/// Bytes that a pipe holds, as a socket would.
const PIPE_LEN: usize = 64 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 1024;

type Listeners = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<DuplexStream>>>>;

#[derive(Default)]
struct Pipes(Listeners);

/// A network on which nobody is yet.
pub(crate) fn net() -> Net {
    Net::simulated(Arc::new(Pipes::default()))
}

impl Network for Pipes {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listen>>> {
        let (sender, waiting) = mpsc::channel(BACKLOG);
        self.0.lock().expect("listeners").insert(addr, sender);
        Box::pin(async move { Ok(Box::new(Pipe { addr, waiting }) as Box<dyn Listen>) })
    }

    fn dial(&self, addr: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let listeners = Arc::clone(&self.0);
        Box::pin(async move {
            let addr: SocketAddr = addr.parse().map_err(io::Error::other)?;
            let listener = listeners.lock().expect("listeners").get(&addr).cloned();
            let (here, there) = tokio::io::duplex(PIPE_LEN);
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            listener.ok_or_else(refused)?.send(there).await.map_err(|_| refused())?;
            Ok(Box::new(here) as BoxIo)
        })
    }
}

struct Pipe {
    addr: SocketAddr,
    waiting: mpsc::Receiver<DuplexStream>,
}

impl Listen for Pipe {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            match self.waiting.recv().await {
                Some(pipe) => Ok((Box::new(pipe) as BoxIo, self.addr)),
                // The network is gone, and nobody will come any more.
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}
