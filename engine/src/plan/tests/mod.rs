//! The model as a whole: peers that act apart, exchange and resolve, checked after every step.

mod choices;
mod crowds;
mod joins;
mod peer;
mod pen;
mod restores;
mod rows;
mod schedules;
mod script;
mod seed;
