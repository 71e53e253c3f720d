//! The cases. Each is a claim of the contract; `transport_conformance!` lists them.

mod closing;
mod groups;
mod messages;
mod offsets;
mod publishing;
mod reading;
mod revocations;
mod topics;

pub use closing::*;
pub use groups::*;
pub use messages::*;
pub use offsets::*;
pub use publishing::*;
pub use reading::*;
pub use revocations::*;
pub use topics::*;
