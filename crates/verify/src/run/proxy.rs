//! TCP proxies that stall, cut or hold one way.

use std::net::SocketAddr;

use chassis::{Net, Policy, Tasks};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
};

/// Bytes that are held for one direction of one connection, at most.
const CHUNK: usize = 16 * 1024;

/// What a proxy does to all of its connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Passes everything on.
    Pass,
    /// Holds what the one who dialled says.
    StallUp,
    /// Holds what the other one says.
    StallDown,
    /// Holds everything.
    Stall,
    /// Ends all connections, and takes no new ones.
    Cut,
}

impl Mode {
    fn passes(self, up: bool) -> bool {
        match self {
            Self::Pass => true,
            Self::StallUp => !up,
            Self::StallDown => up,
            Self::Stall | Self::Cut => false,
        }
    }
}

/// One way between two processes.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// Listens on a free port and leads to `to`.
    pub(crate) async fn start(net: &Net, tasks: &Tasks, to: String) -> anyhow::Result<Self> {
        let mut listener = net.listen(([127, 0, 0, 1], 0).into(), "a proxy").await?;
        let addr = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let (net, all) = (net.clone(), tasks.clone());
        tasks.spawn("proxy", Policy::Session, async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let (net, to, modes) = (net.clone(), to.clone(), modes.clone());
                all.spawn("proxied", Policy::Session, async move {
                    let Ok(server) = net.dial(&to).await else { return };
                    let (from_client, to_client) = tokio::io::split(client);
                    let (from_server, to_server) = tokio::io::split(server);
                    let mut cut = modes.clone();
                    tokio::select! {
                        () = pump(from_client, to_server, modes.clone(), true) => {}
                        () = pump(from_server, to_client, modes, false) => {}
                        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
                    }
                });
            }
        });
        Ok(Self { addr, mode })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// Carries one direction until it ends.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut modes: watch::Receiver<Mode>,
    up: bool,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await;
        if modes.wait_for(|mode| mode.passes(up)).await.is_err() {
            return;
        }
        let Ok(len @ 1..) = read else { return };
        if to.write_all(&chunk[..len]).await.is_err() {
            return;
        }
    }
}
