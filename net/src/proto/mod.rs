//! The conversation of two peers, pure: messages in, actions out, time as an argument. No sockets, no clock,
//! no threads, no randomness; a simulator can drive as many sessions as it likes and gets one trace a seed.

mod exchange;
pub mod frame;
pub mod limits;
pub mod message;
pub mod reach;
pub mod session;
pub mod ticket;
