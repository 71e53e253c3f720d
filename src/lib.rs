//! athomic.
