//! The center's desk: what people and scripts do with it, by its command line and its administration interface.

mod carrying;
mod doctor;
mod packing;
mod publishing;
mod serving;
pub(crate) mod shell;
mod upkeep;
