//! Time-outs, on a paused clock and a network in memory, so that they are exact.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use chassis::{BoxIo, Clock, Listen, Net, Network, Rng, World};
use frontend::{CloseReason, HandshakeResult, Options};
use futures::future::BoxFuture;
use tokio::{io::AsyncWriteExt, sync::Mutex, sync::mpsc, time::Instant};
use wire::Profile;

use crate::fixture::{Client, ECHO, Fixture, package, read_to_end, request};

/// One listener; connections are pipes.
struct Pipes {
    dialed: mpsc::Sender<BoxIo>,
    accepted: Arc<Mutex<mpsc::Receiver<BoxIo>>>,
}

impl Network for Pipes {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listen>>> {
        let accepted = Arc::clone(&self.accepted);
        Box::pin(async move { Ok(Box::new(PipeListener { addr, accepted }) as Box<dyn Listen>) })
    }

    fn dial(&self, _addr: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let dialed = self.dialed.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(16 * 1024);
            dialed.send(Box::new(theirs)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(ours) as BoxIo)
        })
    }
}

struct PipeListener {
    addr: SocketAddr,
    accepted: Arc<Mutex<mpsc::Receiver<BoxIo>>>,
}

impl Listen for PipeListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async {
            let io = self.accepted.lock().await.recv().await;
            Ok((io.ok_or(io::ErrorKind::BrokenPipe)?, self.addr))
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

async fn start(profile: Profile) -> Fixture {
    start_with(profile, Options::default()).await
}

async fn start_with(profile: Profile, options: Options) -> Fixture {
    let (dialed, accepted) = mpsc::channel(1_000);
    let pipes = Pipes { dialed, accepted: Arc::new(Mutex::new(accepted)) };
    let world = World {
        net: Net::simulated(Arc::new(pipes)),
        clock: Clock::starting_at(0),
        rng: Rng::seeded(1),
    };
    Fixture::start_with(world, options, profile).await
}

/// Seconds until the server closes `client`.
async fn closed_after(client: &mut Client) -> f64 {
    let start = Instant::now();
    client.expect_close().await;
    start.elapsed().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn without_a_heartbeat_a_session_ends_after_two_intervals() {
    let fixture = start(Profile::master_connector(3)).await;
    // Between two ticks of the wheel.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut client = fixture.client().await;
    let seconds = closed_after(&mut client).await;
    assert!((6.0..6.2).contains(&seconds), "{seconds}");
    drop(client);
    fixture.until_closed(CloseReason::HeartbeatTimeout).await;
}

#[tokio::test(start_paused = true)]
async fn only_heartbeats_count_as_signs_of_life() {
    let fixture = start(Profile::master_connector(3)).await;
    let mut client = fixture.client().await;
    // Between two ticks of the wheel.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        client.send(package(3, b"")).await;
    }
    let start = Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send(request(1, ECHO, "1")).await;
    }
    client.expect_close().await;
    let seconds = start.elapsed().as_secs_f64();
    assert!((6.0..6.2).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn without_heartbeats_in_the_profile_silence_is_fine() {
    let fixture = start(Profile::master_gate()).await;
    let mut client = fixture.client().await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    client.echo("1").await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_ten_seconds_in_whatever_state() {
    let fixture = start(Profile::master_connector(3)).await;
    let begin = Instant::now();
    let mut silent = fixture.dial().await;
    let mut half = fixture.dial().await;
    half.write_all(b"GET / HTTP/1.1\r\nConn").await.unwrap();
    let mut upgraded = fixture.upgrade().await;
    let mut unacked = fixture.upgrade().await;
    unacked.send(package(1, br#"{"sys":{}}"#)).await;
    // Heartbeats do not help.
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        unacked.send(package(3, b"")).await;
    }
    assert_eq!(fixture.metrics.connections.get(), 4);
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut half).await, "");
    upgraded.expect_close().await;
    unacked.expect_close().await;
    let seconds = begin.elapsed().as_secs_f64();
    assert!((10.0..10.2).contains(&seconds), "{seconds}");
    drop((upgraded, unacked));
    fixture.until("all gone", |f| f.metrics.connections.get() == 0).await;
    assert_eq!(fixture.metrics.closes(CloseReason::HandshakeTimeout).get(), 4);
    assert_eq!(fixture.metrics.handshakes(HandshakeResult::Timeout).get(), 4);
}

/// Lets the time jump, and all tasks see it, again and again until `fixture` has closed
/// a silent session or `most` is over; returns how long that was.
async fn jump(fixture: &Fixture, step: Duration, most: Duration) -> Duration {
    let begin = Instant::now();
    while begin.elapsed() < most && fixture.metrics.closes(CloseReason::HeartbeatTimeout).get() == 0
    {
        tokio::time::advance(step).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_process_stood_still_is_not_held_against_clients() {
    let fixture = start(Profile::master_connector(3)).await;
    let mut client = fixture.client().await;
    client.echo("1").await;
    let minute = Duration::from_secs(60);
    jump(&fixture, minute, minute).await;
    client.send(package(3, b"")).await;
    client.echo("\"still here\"").await;
}

#[tokio::test(start_paused = true)]
async fn being_late_all_the_time_makes_no_time_out_longer() {
    let fixture = start(Profile::master_connector(3)).await;
    let mut client = fixture.client().await;
    client.echo("1").await;
    let seconds = jump(&fixture, Duration::from_millis(270), Duration::from_secs(60)).await;
    assert!((5.9..6.8).contains(&seconds.as_secs_f64()), "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_late_ack_begins_the_heartbeat_anew() {
    let fixture = start(Profile::master_connector(3)).await;
    let mut client = fixture.upgrade().await;
    tokio::time::sleep(Duration::from_millis(9_800)).await;
    client.handshake().await;
    let seconds = closed_after(&mut client).await;
    assert!((6.0..6.2).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_longer_than_the_wheel_is_kept_all_the_same() {
    let fixture = start(Profile::master_connector(600)).await;
    let mut client = fixture.client().await;
    // Everybody's patience is 30 s, so the clock is turned by hand.
    tokio::time::sleep(Duration::from_secs(1_199)).await;
    assert_eq!(fixture.metrics.connections.get(), 1);
    let seconds = closed_after(&mut client).await;
    assert!((1.0..1.2).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn who_is_here_for_nothing_is_closed_and_who_is_busy_is_not() {
    let options = Options { idle_timeout: Duration::from_secs(5), ..Options::default() };
    let fixture = start_with(Profile::master_gate(), options).await;
    let (mut idle, session) = fixture.pair().await;
    session.set_busy(false);
    let (mut busy, session) = fixture.pair().await;
    let seconds = closed_after(&mut idle).await;
    assert!((5.0..5.3).contains(&seconds), "{seconds}");
    tokio::time::sleep(Duration::from_secs(100)).await;
    busy.echo("\"still here\"").await;
    session.set_busy(false);
    let seconds = closed_after(&mut busy).await;
    // The wheel looks at least this often.
    assert!((5.0..10.3).contains(&seconds), "{seconds}");
    assert_eq!(fixture.metrics.closes(CloseReason::Idle).get(), 2);
}
