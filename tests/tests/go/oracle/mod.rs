//! `shared::module` held against `golang.org/x/mod`.

mod answers;
mod generate;
mod operations;
mod zip_cases;
mod zips;
