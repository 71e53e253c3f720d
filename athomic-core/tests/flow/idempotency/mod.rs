//! Each message once: whatever comes again, whoever else has it, whatever becomes of the store.

mod batch;
mod keys;
mod locks;
mod settings;
mod stage;
mod store;
