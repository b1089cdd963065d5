//! A list that collapses is more likely a mistake than a wish. Pure: the time comes in.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::merge::Listed;
use crate::ENTRIES_MAX;

/// How long those stay listed of whom more than half went at once.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(60);

/// Keeps listing those who went when too many went together: for a minute. Who is
/// really gone does not answer its health watch, and is taken for ready by nobody.
#[derive(Debug)]
pub(crate) struct Hold<T> {
    /// The last list that was believed.
    believed: Arc<[T]>,
    /// Until when the others of it stay, beside those who are listed now.
    until: Option<Instant>,
}

impl<T: Listed> Hold<T> {
    /// Nothing was believed yet, so that a first list is, also an empty one.
    pub(crate) fn new() -> Self {
        Self { believed: Arc::new([]), until: None }
    }

    /// Takes what is listed now, and returns what is to be shown.
    pub(crate) fn take(&mut self, now: Instant, listed: Vec<T>) -> Arc<[T]> {
        let is_listed: HashSet<&T> = listed.iter().collect();
        let gone: Vec<&T> = self.believed.iter().filter(|old| !is_listed.contains(old)).collect();
        let collapsed = gone.len() * 2 > self.believed.len();
        if collapsed && self.until.is_none_or(|until| now < until) {
            if self.until.is_none() {
                tracing::warn!(
                    listed = listed.len(),
                    gone = gone.len(),
                    "most of a list went at once, so they stay listed for a minute"
                );
            }
            self.until.get_or_insert(now + HELD_FOR);
            let gone: Vec<T> = gone.into_iter().cloned().collect();
            return beside(listed, gone).into();
        }
        self.until = None;
        self.believed = listed.into();
        Arc::clone(&self.believed)
    }

    /// When the list has to be taken once more, although nothing has changed.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.until
    }
}

/// Those who went beside those who are listed, as far as there is a place.
fn beside<T: Listed>(mut listed: Vec<T>, gone: Vec<T>) -> Vec<T> {
    let clashes = |listed: &[T], old: &T| listed.iter().any(|new| new.clashes_with(old));
    for old in gone {
        if listed.len() < ENTRIES_MAX && !clashes(&listed, &old) {
            listed.push(old);
        }
    }
    listed.sort_by_cached_key(Listed::line);
    listed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shard;

    /// Takes lists at given seconds and compares what is shown, `"0 ab"` → `"ab"`.
    /// A shard's name is its address's, too; `b'` is b at another address.
    #[track_caller]
    fn check(script: &[(&str, &str)]) {
        let start = Instant::now();
        let mut hold = Hold::new();
        for (step, expected) in script {
            let (at, listed) = step.split_once(' ').unwrap();
            let now = start + Duration::from_secs(at.parse().unwrap());
            let moved = listed.contains('\'');
            let listed = listed.chars().filter(|c| *c != '\'').map(|id| Shard {
                id: id.to_string().parse().unwrap(),
                addr: format!("{id}:{}", if moved { 2 } else { 1 }),
            });
            let shown = hold.take(now, listed.collect());
            let shown: String = shown.iter().map(|shard| shard.id.as_str()).collect();
            assert_eq!(shown, *expected, "{step}");
        }
    }

    #[test]
    fn a_first_list_is_believed_also_an_empty_one() {
        check(&[("0 ", ""), ("1 abc", "abc")]);
    }

    #[test]
    fn a_few_who_go_are_gone() {
        check(&[("0 abcd", "abcd"), ("1 ab", "ab"), ("2 a", "a")]);
    }

    #[test]
    fn an_empty_list_after_a_full_one_is_held_back_for_a_minute() {
        check(&[("0 abc", "abc"), ("1 ", "abc"), ("60 ", "abc"), ("61 ", "")]);
        check(&[("0 a", "a"), ("1 ", "a"), ("2 a", "a"), ("70 ", "a")]);
    }

    #[test]
    fn most_who_go_at_once_stay_for_a_minute_beside_those_who_come() {
        check(&[("0 abc", "abc"), ("1 dx", "abcdx"), ("2 de", "abcde"), ("61 de", "de")]);
        // What was held does not count as a list: nobody gets a second minute.
        check(&[("0 abc", "abc"), ("1 def", "abcdef"), ("50 def", "abcdef"), ("61 def", "def")]);
    }

    #[test]
    fn when_enough_are_back_the_list_is_believed() {
        check(&[("0 abcd", "abcd"), ("1 a", "abcd"), ("2 ab", "ab")]);
    }

    #[test]
    fn who_has_moved_is_listed_where_it_is() {
        check(&[("0 b", "b"), ("1 b'", "b")]);
        let mut hold = Hold::new();
        let at = |addr: &str| vec![Shard { id: "b".parse().unwrap(), addr: addr.into() }];
        let now = Instant::now();
        hold.take(now, at("b:1"));
        assert_eq!(*hold.take(now, at("b:2")), *at("b:2"));
    }
}
