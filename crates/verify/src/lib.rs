//! The delivery contract, checked on what clients saw.
//!
//! ```text
//! clients ──▶ record: what each sent, was answered and saw, and each fault ─┐
//! store ────▶ record: the log, as it is at the end ─────────────────────────┤
//!                                                                           ▼
//!                                    rules: per rule, how often checked, how often broken
//! ```
//!
//! # Invariants
//!
//! * Nothing here does I/O, reads a clock or draws a random number.
//! * No two messages of one record have the same content, but repeats of one
//!   message: so plain sessions, which are told no numbers, can be checked, too.
//! * A rule that was never checked has failed.

pub mod record;
pub mod rules;

pub use record::{Event, Line, Position, Verdict};
pub use rules::{Outcome, RULES, check};
