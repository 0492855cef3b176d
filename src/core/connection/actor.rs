//! The connection actor: mailbox, timers and outbox around a session and the core's connection state.
//!
//! **Must never know:** any dialect, any rule of access.
