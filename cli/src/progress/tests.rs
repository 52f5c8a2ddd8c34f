//! What each mode makes of streams of events.

mod modes;
mod plain;
mod raw_json;
mod screen;
mod session;
mod tree;
