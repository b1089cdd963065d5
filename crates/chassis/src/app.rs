//! The life of a process: parse, bind, build, ready, serve, drain, exit code.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::{signal::unix, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Clock, Component, GrpcTls, Hold, Net, Options, Rng, Stopper, Tasks, admin, admin::Probes,
    chain, component::Components, follow::Reloads, telemetry,
};

/// The outside world, handed to whoever needs it. Clones share it.
#[derive(Clone, Debug)]
pub struct World {
    /// Listeners and connections.
    pub net: Net,
    /// Clocks.
    pub clock: Clock,
    /// Random numbers.
    pub rng: Rng,
}

impl World {
    /// The machine that the process runs on.
    #[must_use]
    pub fn real() -> Self {
        Self { net: Net::real(), clock: Clock::real(), rng: Rng::real() }
    }
}

/// What a running service may ask of its process.
#[derive(Debug)]
pub struct App {
    world: World,
    began: Instant,
    registry: Registry,
    shutdown: CancellationToken,
    stopper: Stopper,
    tasks: Tasks,
    components: Components,
    reloads: Reloads,
    probes: Arc<Probes>,
    started: Option<Arc<OnceLock<Registry>>>,
}

impl App {
    /// A process without admin port, signals and logs: for tests and simulations.
    #[must_use]
    pub fn detached(world: World) -> Self {
        let mut registry = Registry::default();
        let shutdown = CancellationToken::new();
        let tasks = Tasks::new(&mut registry, shutdown.clone());
        let reloads = Reloads::register(&mut registry);
        let probes = Arc::<Probes>::default();
        Self {
            began: world.clock.now(),
            stopper: Stopper::new(shutdown.clone(), Arc::clone(&probes), world.clock),
            world,
            registry,
            shutdown,
            tasks,
            components: Components::default(),
            reloads,
            probes,
            started: None,
        }
    }

    /// The outside world.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// When the process began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Listeners and connections.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.world.net
    }

    /// Secures all gRPC of the process from now on: channels that are opened, and
    /// connections of listeners that are not served yet.
    pub fn secure_grpc(&mut self, tls: GrpcTls) {
        self.world.net = self.world.net.clone().secured(tls);
    }

    /// The place to register metrics, before the service is ready.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Fires when all that is served has to end: some time after [`App::stopping`].
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Fires when the process has been asked to stop. Everything goes on until
    /// [`App::shutdown`] fires: after `--accept-grace`, and once nobody [holds it
    /// off](App::hold). If something breaks, only the latter fires.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stopper.stopping()
    }

    /// Holds [`App::shutdown`] off, once the process is asked to stop, until this is
    /// dropped. All together may take what `--shutdown-grace` allows.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.stopper.hold()
    }

    /// What asks the process to stop. [`run`] does it at a signal; this is for processes
    /// that are [detached](App::detached), and for services that take themselves out of
    /// service.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Tasks that the process waits for before it ends.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(crate) fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Has a part of the process told when the process begins and ends.
    ///
    /// # Panics
    ///
    /// After [`App::ready`]: it would never be started.
    pub fn add(&mut self, component: impl Component) {
        self.components.add(Box::new(component));
    }

    /// Tells the start-up probe what the start waits for.
    pub fn waits_for(&self, what: &str) {
        what.clone_into(&mut self.probes.waits.lock().expect("a text"));
    }

    /// Starts the components, turns the start-up and readiness probes green, and
    /// starts /metrics: no metric can be registered after this. If the process is
    /// asked to end meanwhile, this returns at once, and so will whatever serves.
    ///
    /// # Errors
    ///
    /// A component does not start.
    pub async fn ready(&mut self) -> Result<(), StartError> {
        self.components.start(self.world.clock, &self.shutdown).await?;
        if let Some(started) = self.started.take() {
            // It is set here only, and once.
            let _ = started.set(std::mem::take(&mut self.registry));
        }
        self.probes.started.store(true, Ordering::Release);
        let is_asked_to_stop = self.shutdown.is_cancelled() || self.stopping().is_cancelled();
        self.probes.ready.store(!is_asked_to_stop, Ordering::Release);
        Ok(())
    }

    /// Stops the components and waits for all tasks, once all has been served and
    /// shutdown was asked for. [`run`] does it for a process; this is for those that
    /// are [detached](App::detached).
    ///
    /// # Errors
    ///
    /// A component was not stopped properly, or a critical task has panicked.
    pub async fn end(&self) -> anyhow::Result<()> {
        self.ending().end(Ok(())).await
    }

    fn ending(&self) -> Ending {
        Ending {
            components: self.components.clone(),
            tasks: self.tasks.clone(),
            clock: self.world.clock,
        }
    }
}

/// What is left to do when all has been served.
struct Ending {
    components: Components,
    tasks: Tasks,
    clock: Clock,
}

impl Ending {
    /// Ends what is left, and says what went wrong first.
    async fn end(self, served: anyhow::Result<()>) -> anyhow::Result<()> {
        let are_stopped = self.components.stop(self.clock).await;
        served?;
        self.tasks.wait().await;
        anyhow::ensure!(!self.tasks.have_failed(), "a critical task panicked");
        anyhow::ensure!(are_stopped, "a component was not stopped properly");
        Ok(())
    }
}

/// The process could not start: a flag, a file or a port is to blame, not a bug.
/// Printed as one line; the exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// The process was asked to stop before it had started. No failure: the exit code
/// is 0.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("asked to stop while starting")]
pub struct Stopped;

/// Reads the command line. A mistake ends the process with 2 and one line.
///
/// `admin_addr` is this program's own default for `--admin-addr`, so that all of
/// them can run on one machine.
#[must_use]
pub fn parse<C: clap::Parser>(admin_addr: &'static str) -> C {
    read(C::command().mut_arg("admin_addr", |arg| arg.default_value(admin_addr)))
}

/// As [`parse`], for a program that is no service: it has no admin port.
#[must_use]
pub fn parse_tool<C: clap::Parser>() -> C {
    read(C::command())
}

fn read<C: clap::FromArgMatches>(command: clap::Command) -> C {
    let name = command.get_name().to_owned();
    let parsed = command.try_get_matches().and_then(|matches| C::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| refuse(&name, &error))
}

#[allow(clippy::print_stderr, clippy::disallowed_methods, reason = "nothing has begun yet")]
fn refuse(name: &str, error: &clap::Error) -> ! {
    // --help and --version are no mistakes.
    if !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    let what = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    let what = what.collect::<Vec<_>>().join(" ");
    eprintln!("{name}: {}; see {name} --help", what.trim_start_matches("error: "));
    std::process::exit(2)
}

/// Runs a service until it ends or is asked to, and returns the exit code:
/// 0 ended as asked, 1 failed while running, 2 could not start.
pub fn run<F, Fut>(name: &'static str, options: &Options, service: F) -> ExitCode
where
    F: FnOnce(App) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .and_then(|runtime| {
            let ended = runtime.block_on(live(name, options, service));
            runtime.shutdown_background();
            ended
        });
    exit_code(name, ended)
}

/// Does an operator's one task, beside whatever else runs: without ports, probes and
/// signals of its own. Exit codes as of [`run`].
pub fn run_tool<F, Fut>(name: &'static str, tool: F) -> ExitCode
where
    F: FnOnce(World) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(tool(World::real())));
    exit_code(name, ended)
}

fn exit_code(name: &str, ended: anyhow::Result<()>) -> ExitCode {
    let Err(error) = ended else { return ExitCode::SUCCESS };
    if error.downcast_ref::<Stopped>().is_some() {
        return ExitCode::SUCCESS;
    }
    let refused = error.downcast_ref::<StartError>().is_some();
    report(name, &error);
    if refused { ExitCode::from(2) } else { ExitCode::FAILURE }
}

#[allow(clippy::print_stderr, reason = "the last word of a process that may have no subscriber")]
fn report(name: &str, error: &anyhow::Error) {
    eprintln!("{name}: {}", chain(error.as_ref()));
}

async fn live<F, Fut>(name: &'static str, options: &Options, service: F) -> anyhow::Result<()>
where
    F: FnOnce(App) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let _telemetry =
        telemetry::install(name, options).map_err(|error| StartError(format!("{error:#}")))?;
    // Before anybody can take the process for ready.
    let mut signals = Signals::listen().context("listen for signals")?;
    let (mut app, probes) = build(options)?;
    raise_descriptor_limit();
    app.registry.register(
        "build",
        "The running version; always 1",
        prometheus_client::metrics::info::Info::new([
            ("version", env!("CARGO_PKG_VERSION")),
            ("process", name),
        ]),
    );
    let (shutdown, stopper, ending) = (app.shutdown(), app.stopper(), app.ending());
    let service = service(app);
    tokio::pin!(service);

    let ended = tokio::select! {
        ended = &mut service => Some(ended),
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            None
        }
        () = shutdown.cancelled() => None,
    };
    // Who has not started yet serves nobody.
    let accept_grace = match probes.started.load(Ordering::Acquire) {
        true => options.accept_grace,
        false => Duration::ZERO,
    };
    let drain = async {
        let served = match ended {
            Some(ended) => ended,
            None => tokio::select! {
                ended = &mut service => ended,
                () = stopper.stop(accept_grace) => service.await,
            },
        };
        stopper.stop_now();
        ending.end(served).await
    };
    tokio::select! {
        drained = tokio::time::timeout(options.shutdown_grace, drain) => {
            drained.with_context(|| format!("still busy {} after being asked to stop", humantime::format_duration(options.shutdown_grace)))??;
        }
        second = signals.next() => anyhow::bail!("{second} during shutdown"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Lets this process have as many descriptors as it may: each connection is one, and the
/// usual soft limit is 1024. If it is not to be, the log says so.
pub fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "descriptors"),
        Err(error) => tracing::warn!(error = %error, "the limit of descriptors stays as it is"),
    }
}

/// How many descriptors, such as sockets, this process may have open.
#[must_use]
pub fn descriptor_limit() -> u64 {
    // What is usual, should nobody tell.
    rlimit::Resource::NOFILE.get_soft().unwrap_or(1024)
}

fn build(options: &Options) -> anyhow::Result<(App, Arc<Probes>)> {
    let admin = bind_admin(options.admin_addr)?;
    let mut app = App::detached(World::real());
    let registry = Arc::new(OnceLock::new());
    app.started = Some(Arc::clone(&registry));
    let probes = Arc::clone(&app.probes);
    // Before the service is built, so that the start-up probe can say what it waits for.
    admin::serve(admin, Arc::clone(&probes), registry).context("serve the admin port")?;
    Ok((app, probes))
}

#[allow(clippy::disallowed_methods, reason = "the admin port lives outside the simulated world")]
fn bind_admin(addr: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    std::net::TcpListener::bind(addr)
        .map_err(|error| StartError(format!("cannot listen on {addr} (--admin-addr): {error}")))
}

/// The signals that ask a process to end.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    /// From now on they are noticed, and do not kill.
    fn listen() -> std::io::Result<Self> {
        let (terminate, interrupt) = (unix::SignalKind::terminate(), unix::SignalKind::interrupt());
        Ok(Self { terminate: unix::signal(terminate)?, interrupt: unix::signal(interrupt)? })
    }

    /// Waits for the next one. Cancel-safe.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
