//! Pure decisions: facts in, a plan as plain data out. No I/O, no clock, no threads, no randomness.

pub mod capture;
pub mod change;
mod draft;
pub mod fetch;
pub mod losses;
pub mod materialise;
pub mod resolve;
pub mod restore;
pub mod retain;
pub mod scan;
pub mod text;

#[cfg(test)]
mod tests;
