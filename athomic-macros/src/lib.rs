//! The attribute macros of athomic.
