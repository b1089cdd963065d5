//! Rules over the workspace itself, which no other tool checks.
//!
//! Each rule is a pure function from facts about the repository to complaints, one
//! line each, none if all is well. The facts are gathered by [`Repository`];
//! `tests/repository.rs` holds the rules against this repository, and the tests
//! beside each rule hold it against a planted violation.

pub mod files;
pub mod floors;
pub mod manifests;
mod repository;

pub use repository::{Crate, Repository, TextFile, Use};
