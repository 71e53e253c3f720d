//! What the benches of athomic are made of. Each program in `bin/` names the question it answers.
//!
//! A case is one way to do the work. It runs in a process of its own, so that processor time, peak
//! memory and allocations are its own too, and prints a [`Measurement`](measurement::Measurement);
//! the bench runs its cases in alternation, round by round, and reports medians.

pub mod allocations;
pub mod application;
pub mod baseline;
pub mod case;
pub mod child;
pub mod delayed;
pub mod goal;
pub mod measurement;
pub mod order;
pub mod ordered;
pub mod payload;
pub mod probe;
pub mod publishing;
pub mod question;
pub mod report;
pub mod rounds;
pub mod statistics;
pub mod sweep;
pub mod topic;
