//! The search.

use std::fmt;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{Guard, Scenario, action::Action, rules::Broken, world::World};

/// A scenario, perhaps without some guard.
struct Story {
    scenario: Scenario,
    without: Option<Guard>,
}

const NO_RULE_IS_BROKEN: &str = "no rule is broken";
const ALL_IS_STORED: &str = "all is said and acknowledged";

impl Model for Story {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scenario, self.without)]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        state.enabled(actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        next.happen(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_RULE_IS_BROKEN, |_, world: &World| world.broken.is_none()),
            Property::sometimes(ALL_IS_STORED, |_, world: &World| world.is_done()),
        ]
    }
}

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Different states that can be reached.
    pub states: usize,
    /// Steps from one to another, those to states that were known included.
    pub transitions: usize,
    /// The longest way to a state that was visited first on it.
    pub depth: usize,
    /// True if in some of them everything is said and acknowledged.
    pub succeeds: bool,
    /// The rule that is broken, if one is.
    pub broken: Option<Violation>,
}

/// How a rule comes to be broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Its number in the contract; 0 for what no rule speaks of, and yet must not be.
    pub rule: u8,
    /// What happens until then.
    pub steps: Vec<String>,
    /// What is wrong in the end.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, steps, how } = self;
        match rule {
            0 => write!(f, "something goes wrong after {} steps: {how}", steps.len()),
            rule => write!(f, "rule {rule} is broken after {} steps: {how}", steps.len()),
        }
    }
}

/// Visits all states, up to the first that breaks a rule: with one thread it is one of the
/// nearest.
#[must_use]
pub fn explore(scenario: Scenario, without: Option<Guard>, threads: usize) -> Found {
    let story = Story { scenario, without };
    let finish = HasDiscoveries::AnyFailures;
    let checker = story.checker().threads(threads).finish_when(finish).spawn_bfs().join();
    let broken = checker.discovery(NO_RULE_IS_BROKEN).map(|path| {
        let broken = path.last_state().broken.clone();
        let Broken { rule, how } = broken.expect("the last state is the one that breaks it");
        let steps = path.into_vec().into_iter();
        let steps = steps.filter_map(|(world, action)| Some(world.describe(action?))).collect();
        Violation { rule, steps, how }
    });
    Found {
        states: checker.unique_state_count(),
        transitions: checker.state_count() - 1,
        depth: checker.max_depth(),
        succeeds: checker.discovery(ALL_IS_STORED).is_some(),
        broken,
    }
}
