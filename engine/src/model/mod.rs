//! Pure values: no I/O, no clock, no threads, no randomness. Everything here is a function of its arguments.

pub mod chunk;
pub mod codec;
pub mod cut;
pub mod entry;
pub mod facts;
pub mod frontier;
pub mod ids;
pub mod keys;
pub mod manifest;
pub mod memory;
pub mod name;
pub mod overlay;
pub mod past;
pub mod patch;
pub mod roster;
pub mod time;
pub mod view;

#[cfg(test)]
pub(crate) mod samples;
