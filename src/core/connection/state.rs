//! What the core knows of one connection: principal, subscriptions, passes. Pure.
//!
//! **Must never know:** actix, sockets, dialects.
