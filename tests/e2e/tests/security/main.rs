//! Listeners of a real broker with TLS, SASL and ACLs: what is right connects, and what is wrong says
//! so when the application starts, says what to do, and gives nothing away.

mod app;
mod broker;
mod canary;
mod connects;
mod logs;
mod pki;
mod refused;
mod revoked;
mod rotated;
mod tokens;
