//! Links between nodes for the message plane, and what travels over them.
//!
//! **Must never know:** adapters, dialects. Publications and channel messages only; access state never travels
//! here, whatever the bus.
