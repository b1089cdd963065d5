//! The pace, in virtual time.

use std::cell::RefCell;

use super::*;

/// People by number. Who is `busy` has its answers so long after its turn.
#[derive(Default)]
struct People {
    here: RefCell<Vec<u32>>,
    sent: RefCell<Vec<(u32, u128)>>,
    due: RefCell<Vec<u32>>,
    busy: Vec<(u32, Duration)>,
    /// Who comes late, and when.
    late: RefCell<Vec<(u32, Duration)>>,
    /// Who goes by itself, and when.
    goes: Vec<(u32, Duration)>,
    began: Option<Instant>,
}

impl People {
    fn elapsed(&self) -> Duration {
        self.began.unwrap().elapsed()
    }
}

impl Crowd for People {
    type One = u32;

    fn left(&self) -> usize {
        let now = self.elapsed();
        let mut late = self.late.borrow_mut();
        late.retain(|(who, at)| {
            let is_here = *at <= now;
            if is_here {
                self.here.borrow_mut().push(*who);
            }
            !is_here
        });
        let is_gone = |who: &u32| self.goes.iter().any(|(goes, at)| goes == who && *at <= now);
        self.here.borrow_mut().retain(|who| !is_gone(who));
        self.here.borrow().len()
    }

    fn waiting(&self) -> Vec<u32> {
        let due = self.due.borrow();
        self.here.borrow().iter().copied().filter(|who| !due.contains(who)).collect()
    }

    fn send(&self, who: &u32, since: Duration) -> Sent {
        if !self.here.borrow().contains(who) {
            return Sent::Gone;
        }
        self.due.borrow_mut().push(*who);
        let busy = self.busy.iter().find(|(busy, _)| busy == who);
        if busy.is_some_and(|(_, until)| since < *until) {
            return Sent::Waits;
        }
        self.here.borrow_mut().retain(|one| one != who);
        self.sent.borrow_mut().push((*who, self.elapsed().as_millis()));
        Sent::Away
    }
}

/// Paces `people` over `millis`; how long it took, and who was sent away when, in
/// milliseconds.
fn paced(count: u32, millis: u64, people: People) -> (u128, Vec<(u32, u128)>) {
    hurried(count, millis, people, None)
}

/// The same; but after so many milliseconds it has to be done within so many more.
fn hurried(
    count: u32,
    millis: u64,
    mut people: People,
    hurry: Option<(u64, u64)>,
) -> (u128, Vec<(u32, u128)>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        people.here = RefCell::new((0..count).collect());
        people.began = Some(Instant::now());
        let patience = Duration::from_secs(8);
        let (stopping, (after, within)) = (CancellationToken::new(), hurry.unwrap_or_default());
        let at = Instant::now() + Duration::from_millis(millis);
        let end = End { at, hurry: (stopping.clone(), Duration::from_millis(within)) };
        let hurries = async {
            tokio::time::sleep(Duration::from_millis(after)).await;
            if hurry.is_some() {
                stopping.cancel();
            }
        };
        tokio::join!(pace(Clock::real(), end, patience, &people), hurries);
        (people.elapsed().as_millis(), people.sent.into_inner())
    })
}

/// How many were sent away in each tick.
fn per_tick(sent: &[(u32, u128)], ticks: usize) -> Vec<usize> {
    let at = |tick: usize| move |(_, at): &&(u32, u128)| *at == tick as u128 * TICK.as_millis();
    (0..ticks).map(|tick| sent.iter().filter(at(tick)).count()).collect()
}

#[test]
fn all_are_sent_away_evenly_until_the_end_of_the_time() {
    let (took, sent) = paced(1000, 10_000, People::default());
    assert_eq!(per_tick(&sent, 100), [10; 100]);
    assert_eq!(took, 10_000);
    // What does not divide evenly goes first, and nobody is left over.
    let (_, sent) = paced(1005, 10_000, People::default());
    let ticks = per_tick(&sent, 100);
    assert_eq!(ticks.iter().sum::<usize>(), 1005);
    assert!(ticks.iter().all(|count| (10..=11).contains(count)), "{ticks:?}");
}

#[test]
fn few_are_not_kept_waiting_and_nobody_takes_no_time() {
    let (took, sent) = paced(3, 90_000, People::default());
    assert_eq!(sent, [(0, 0), (1, 100), (2, 200)]);
    assert_eq!(took, 300);
    assert_eq!(paced(0, 90_000, People::default()), (0, vec![]));
}

#[test]
fn without_time_all_go_at_once() {
    let (took, sent) = paced(500, 0, People::default());
    assert_eq!(per_tick(&sent, 1), [500]);
    assert_eq!(took, 100);
}

#[test]
fn a_long_drain_is_over_in_the_usual_time_once_the_process_has_to_end() {
    let (took, sent) = paced(1000, 100_000, People::default());
    assert_eq!((took, per_tick(&sent, 1)[0]), (100_000, 1));
    let (took, sent) = hurried(1000, 100_000, People::default(), Some((49_950, 10_000)));
    assert_eq!(took, 60_000);
    let ticks = per_tick(&sent, 600);
    assert!(ticks[..500].iter().all(|count| *count == 1), "{ticks:?}");
    assert!(ticks[501..].iter().all(|count| (5..=6).contains(count)), "{ticks:?}");
    // One that is over sooner does not take longer.
    assert_eq!(hurried(1000, 10_000, People::default(), Some((4_950, 90_000))).0, 10_000);
}

#[test]
fn who_waits_for_answers_holds_up_nobody_else() {
    let busy = vec![(0, Duration::from_millis(450)), (2, Duration::from_secs(100))];
    let (took, sent) = paced(4, 400, People { busy, ..People::default() });
    assert_eq!(sent, [(1, 100), (3, 300), (0, 500)]);
    // The last has had its time: 400 ms, 8 s for answers, and 1 s more.
    assert_eq!(took, 9_400);
}

#[test]
fn who_comes_late_has_a_turn_and_who_goes_needs_none() {
    let late =
        RefCell::new(vec![(17, Duration::from_millis(250)), (18, Duration::from_millis(900))]);
    let goes = vec![(1, Duration::from_millis(50))];
    let (_, sent) = paced(10, 1_000, People { late, goes, ..People::default() });
    let who: Vec<u32> = sent.iter().map(|(who, _)| *who).collect();
    assert!(!who.contains(&1), "{sent:?}");
    assert!(sent.iter().all(|(_, at)| *at <= 1_000), "{sent:?}");
    assert_eq!(who.iter().filter(|who| **who == 18).count(), 1);
}

#[test]
fn a_process_that_stood_still_makes_up_for_it() {
    assert_eq!(share(10, Duration::from_secs(1)), 1);
    assert_eq!(share(10, Duration::from_millis(101)), 5);
    assert_eq!(share(10, Duration::ZERO), 10);
    assert_eq!(share(0, Duration::ZERO), 0);
}
