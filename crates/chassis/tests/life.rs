//! The life of a real process with components: this program starts itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "a test without the usual harness")]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use chassis::{App, Component, StartError, async_trait};
use clap::Parser;

/// Set in the process that is tested: the hook that is to fail, "end", or none.
const FAILS: &str = "CHASSIS_TEST_FAILS";

/// How long it may take to end if that is what fails.
const GRACE: Duration = Duration::from_secs(1);

#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    chassis: chassis::Options,
}

fn main() -> ExitCode {
    if let Ok(fails) = std::env::var(FAILS) {
        let mut options =
            Options::parse_from(["life", "--admin-addr=127.0.0.1:0", "--log-format=json"]);
        if fails == "end" {
            options.chassis.shutdown_grace = GRACE;
        }
        return chassis::run("life", &options.chassis, async |app| serve(app, fails).await);
    }
    whoever_is_asked_to_end_stops_its_components_and_exits_with_0();
    a_start_that_fails_is_one_line_and_exit_code_2();
    a_stop_that_fails_is_logged_and_exit_code_1();
    who_does_not_end_is_given_up_after_the_shutdown_grace();
    println!("test result: ok. 4 passed; 0 failed");
    ExitCode::SUCCESS
}

struct Hello {
    name: &'static str,
    fails: String,
}

#[async_trait]
impl Component for Hello {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&mut self) -> Result<(), StartError> {
        match self.fails.as_str() {
            "start" if self.name == "second" => Err(StartError("--greeting is empty".into())),
            _ => Ok(()),
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        println!("{} stops", self.name);
        anyhow::ensure!(self.fails != "stop", "nobody to say good-bye to");
        Ok(())
    }
}

async fn serve(mut app: App, fails: String) -> anyhow::Result<()> {
    for name in ["first", "second"] {
        app.add(Hello { name, fails: fails.clone() });
    }
    app.ready().await?;
    println!("ready");
    app.shutdown().cancelled().await;
    if fails == "end" {
        tokio::time::sleep(GRACE * 20).await;
    }
    println!("served");
    Ok(())
}

/// Runs one, asks it to end once it is ready, and tells its exit code, what it said
/// on standard output, and what on standard error.
fn live(fails: &str) -> (Option<i32>, Vec<String>, Vec<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(FAILS, fails)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        said.push(line.unwrap());
        if said == ["ready"] {
            let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
            assert!(killed.success());
        }
    }
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let code = child.wait().unwrap().code();
    (code, said, errors.lines().map(str::to_owned).collect())
}

fn whoever_is_asked_to_end_stops_its_components_and_exits_with_0() {
    let (code, said, errors) = live("nothing");
    assert_eq!(code, Some(0), "{errors:?}");
    assert_eq!(said, ["ready", "served", "second stops", "first stops"]);
}

fn a_start_that_fails_is_one_line_and_exit_code_2() {
    let (code, said, errors) = live("start");
    assert_eq!(errors, ["life: cannot start second: --greeting is empty"]);
    assert_eq!((code, said), (Some(2), vec!["first stops".to_owned()]));
}

fn a_stop_that_fails_is_logged_and_exit_code_1() {
    let (code, said, errors) = live("stop");
    assert_eq!((code, said.last().unwrap().as_str()), (Some(1), "first stops"), "{errors:?}");
    let logged = errors.iter().filter(|line| line.contains(r#""message":"not stopped""#)).count();
    assert_eq!(logged, 2, "{errors:?}");
    assert_eq!(errors.last().unwrap(), "life: a component was not stopped properly");
}

fn who_does_not_end_is_given_up_after_the_shutdown_grace() {
    let (code, said, errors) = live("end");
    assert_eq!((code, said), (Some(1), vec!["ready".to_owned()]), "{errors:?}");
    let last = errors.last().unwrap();
    assert!(last.starts_with("life: still busy 1s after being asked to stop"), "{last}");
}
