//! The least that fan-out can cost: one thread, one `send` per socket, nothing
//! else. What a real server needs above it is its own.

use std::{
    io::{ErrorKind, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroUsize,
    time::Duration,
};

use anyhow::Context;
use chassis::Clock;
use serde_json::json;

use crate::{print, process::Process};

/// Options of `loadgen floor`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where to accept sockets
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen_addr: SocketAddr,

    /// Sockets to wait for before sending begins
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub(crate) sessions: NonZeroUsize,

    /// Frames per second to each socket
    #[arg(long, value_name = "COUNT", default_value_t = 20.0)]
    pub(crate) rate: f64,

    /// Frames in one write
    #[arg(long, value_name = "COUNT", default_value = "1")]
    pub(crate) burst: NonZeroUsize,

    /// Length of a frame
    #[arg(long, value_name = "BYTES", default_value = "150")]
    pub(crate) frame: NonZeroUsize,

    /// How long to send
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) time: Duration,
}

/// Accepts, sends, and prints what it cost. The first line printed is the port.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut sockets = accept(options)?;
    let burst = options.burst.get();
    let bytes = frame(options.frame.get()).repeat(burst);
    let interval = Duration::from_secs_f64(burst as f64 / options.rate);
    let rounds = (options.time.as_secs_f64() / interval.as_secs_f64()).round() as u32;
    let clock = Clock::real();
    let (mut next, mut lost) = (clock.now(), 0_u64);
    let this = Process::this();
    let before = this.cpu()?;
    for _ in 0..rounds {
        std::thread::sleep(next.saturating_duration_since(clock.now()));
        next += interval;
        for socket in &mut sockets {
            match socket.write(&bytes) {
                Ok(written) if written == bytes.len() => {}
                Ok(_) => lost += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => lost += 1,
                Err(error) => return Err(error).context("send"),
            }
        }
    }
    let cpu = this.cpu()? - before;
    let deliveries = u64::from(rounds) * (burst * sockets.len()) as u64;
    print(json!({
        "deliveries": deliveries,
        "lost_writes": lost,
        "cpu_us_per_delivery": cpu.as_secs_f64() * 1e6 / deliveries as f64,
    }));
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "nothing is to be around the system calls")]
fn accept(options: &Options) -> anyhow::Result<Vec<TcpStream>> {
    let listener = std::net::TcpListener::bind(options.listen_addr)
        .with_context(|| format!("listen on {}", options.listen_addr))?;
    print(listener.local_addr()?.port());
    let mut sockets = Vec::new();
    while sockets.len() < options.sessions.get() {
        let (socket, _) = listener.accept().context("accept")?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A binary WebSocket message of `len` bytes, header included.
fn frame(len: usize) -> Vec<u8> {
    let (header, payload) = match len {
        0..=127 => (vec![0x82, len.saturating_sub(2) as u8], len.saturating_sub(2)),
        _ => {
            let payload = (len - 4).min(0xffff);
            let [high, low] = (payload as u16).to_be_bytes();
            (vec![0x82, 126, high, low], payload)
        }
    };
    [header, vec![b'.'; payload]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_long_as_asked_and_well_formed() {
        for len in [2, 127, 130, 150, 4_000] {
            let frame = frame(len);
            let (header, payload) = crate::client::frame_lens(&frame).unwrap();
            assert_eq!((frame.len(), header + payload), (len, len));
        }
    }
}
