use std::cell::RefCell;

use super::*;

/// Plays signals at given milliseconds and compares when the shard was set ready
/// or not. Script: `"0+"` serving, `"5-"` not serving, `"7x"` the watch failed; it
/// ends 5 s after its last signal. Output: the same notation.
#[track_caller]
fn check(script: &[&str], expected: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let told = runtime.block_on(async {
        let start = Instant::now();
        let steps = script.iter().map(|step| {
            let (at, signal) = step.split_at(step.len() - 1);
            let signal = match signal {
                "+" => Signal::Ready(true),
                "-" => Signal::Ready(false),
                _ => Signal::Lost,
            };
            (start + Duration::from_millis(at.parse().unwrap()), Some(signal))
        });
        let silence = Duration::from_secs(3600);
        let signals = stream::iter(steps).then(|(at, signal)| async move {
            sleep_until(at).await;
            signal.unwrap()
        });
        let signals = signals.chain(stream::once(async move {
            sleep(silence).await;
            Signal::Lost
        }));
        let told = RefCell::new(Vec::new());
        decide(signals, |ready| {
            let at = (Instant::now() - start).as_millis();
            told.borrow_mut().push(format!("{at}{}", if ready { "+" } else { "-" }));
        })
        .await;
        told.into_inner()
    });
    assert_eq!(told, expected);
}

#[test]
fn what_a_shard_says_counts_at_once() {
    check(&["0+", "100-", "200+"], &["0+", "100-", "200+"]);
}

#[test]
fn a_watch_that_comes_back_within_a_second_changes_nothing() {
    check(&["0+", "100x", "500x", "1050+"], &["0+", "1050+"]);
}

#[test]
fn a_watch_that_fails_for_a_second_takes_the_shard_out() {
    check(&["0+", "100x", "500x", "900x", "1300+"], &["0+", "1100-", "1300+"]);
    // One long attempt, as to an address that swallows packets.
    check(&["0+", "100x", "2100x"], &["0+", "1100-", "3100-"]);
}

#[test]
fn the_second_counts_from_the_first_failure_after_an_answer() {
    check(&["0+", "100x", "1000+", "1050x"], &["0+", "1000+", "2050-"]);
}
