//! What the bench checks by itself.

use std::fmt;

/// A figure, and what was promised of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    what: String,
    measured: f64,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    AtLeast(f64),
    Below(f64),
}

impl Goal {
    /// Ask for a figure of at least so much.
    #[must_use]
    pub fn at_least(what: &str, measured: f64, bound: f64) -> Self {
        Self::new(what, measured, Bound::AtLeast(bound))
    }

    /// Ask for a figure below so much.
    #[must_use]
    pub fn below(what: &str, measured: f64, bound: f64) -> Self {
        Self::new(what, measured, Bound::Below(bound))
    }

    fn new(what: &str, measured: f64, bound: Bound) -> Self {
        Self {
            what: what.to_owned(),
            measured,
            bound,
        }
    }

    /// Say whether it was reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.measured >= bound,
            Bound::Below(bound) => self.measured < bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_reached() { "reached" } else { "MISSED" };
        let (relation, bound) = match self.bound {
            Bound::AtLeast(bound) => ("at least", bound),
            Bound::Below(bound) => ("below", bound),
        };
        write!(
            f,
            "{verdict}: {} is {:.2}, to be {relation} {bound:.2}",
            self.what, self.measured
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Goal;

    #[test]
    fn a_bound_is_kept_or_missed() {
        assert!(Goal::at_least("ratio", 0.85, 0.85).is_reached());
        assert!(!Goal::at_least("ratio", 0.84, 0.85).is_reached());
        assert!(!Goal::below("percent", 1.0, 1.0).is_reached());
        let missed = Goal::below("percent", 1.5, 1.0).to_string();
        assert_eq!(missed, "MISSED: percent is 1.50, to be below 1.00");
    }
}
