use std::sync::Mutex as Said;

use super::*;
use crate::{App, World};

type Log = Arc<Said<Vec<String>>>;

/// Notes each hook, and does in it what its name asks for: `a:start=fails`, say.
struct Noted {
    name: &'static str,
    log: Log,
}

impl Noted {
    async fn hook(&self, hook: &str) -> Result<(), StartError> {
        self.log.lock().unwrap().push(format!("{} {hook}", self.name));
        let mut wishes = self.name.split(':').skip(1).filter_map(|wish| wish.split_once('='));
        match wishes.find(|(wished, _)| *wished == hook) {
            Some((_, "fails")) => Err(StartError("no, thanks".into())),
            Some((_, "panics")) => panic!("as the test wants it"),
            Some((_, "hangs")) => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Component for Noted {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&mut self) -> Result<(), StartError> {
        self.hook("start").await
    }

    async fn after_start(&mut self) -> Result<(), StartError> {
        self.hook("after_start").await
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        Ok(self.hook("stop").await?)
    }
}

/// Runs a process of `components` from its start to its end, and tells what it came
/// to and which hooks were called.
async fn live(components: &[&'static str]) -> (String, String) {
    let (mut app, log) = app(components);
    let ready = app.ready().await;
    log.lock().unwrap().push("serve".into());
    let ended = app.end().await;
    let verdict = match (ready, ended) {
        (Err(error), _) => error.to_string(),
        (Ok(()), Err(error)) => error.to_string(),
        (Ok(()), Ok(())) => "well".into(),
    };
    (verdict, log.lock().unwrap().join(", "))
}

fn app(components: &[&'static str]) -> (App, Log) {
    let (mut app, log) = (App::detached(World::real()), Log::default());
    for name in components {
        app.add(Noted { name, log: Arc::clone(&log) });
    }
    (app, log)
}

#[track_caller]
fn check(components: &[&'static str], verdict: &str, hooks: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lived = runtime.block_on(async {
        tokio::time::pause();
        live(components).await
    });
    assert_eq!((lived.0.as_str(), lived.1.as_str()), (verdict, hooks), "{components:?}");
}

#[test]
fn they_start_in_order_and_stop_in_the_opposite_order() {
    check(&[], "well", "serve");
    check(
        &["a", "b"],
        "well",
        "a start, b start, a after_start, b after_start, serve, b stop, a stop",
    );
}

#[test]
fn whoever_cannot_start_is_named_and_only_those_before_it_are_stopped() {
    check(
        &["a", "b:start=fails", "c"],
        "cannot start b:start=fails: no, thanks",
        "a start, b:start=fails start, serve, a stop",
    );
    check(
        &["a", "b:after_start=fails", "c"],
        "cannot start b:after_start=fails: no, thanks",
        "a start, b:after_start=fails start, c start, a after_start, \
         b:after_start=fails after_start, serve, c stop, b:after_start=fails stop, a stop",
    );
}

#[test]
fn a_start_has_a_minute() {
    check(
        &["a", "b:start=hangs"],
        "cannot start b:start=hangs: not within 1m",
        "a start, b:start=hangs start, serve, a stop",
    );
    check(
        &["a:after_start=hangs", "b"],
        "cannot start a:after_start=hangs: not within 1m",
        "a:after_start=hangs start, b start, a:after_start=hangs after_start, serve, \
         b stop, a:after_start=hangs stop",
    );
}

#[test]
fn whoever_does_not_stop_keeps_nobody_else_from_it() {
    for how in ["b:stop=fails", "b:stop=panics", "b:stop=hangs"] {
        let hooks = format!(
            "a start, {how} start, c start, a after_start, {how} after_start, \
             c after_start, serve, c stop, {how} stop, a stop"
        );
        check(&["a", how, "c"], "a component was not stopped properly", &hooks);
    }
}

#[tokio::test]
async fn who_is_asked_to_end_while_it_starts_starts_no_more() {
    let (mut app, log) = app(&["a", "b:start=hangs", "c"]);
    let shutdown = app.shutdown();
    let ready = async {
        app.ready().await.unwrap();
        app
    };
    let ask = async {
        while log.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
    };
    let (app, ()) = tokio::join!(ready, ask);
    app.end().await.unwrap();
    assert_eq!(log.lock().unwrap().join(", "), "a start, b:start=hangs start, a stop");
    // And nothing is stopped twice.
    app.end().await.unwrap();
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[tokio::test]
#[should_panic(expected = "late comes after App::ready")]
async fn nobody_is_added_who_would_never_be_started() {
    let (mut app, log) = app(&[]);
    app.ready().await.unwrap();
    app.add(Noted { name: "late", log });
}
