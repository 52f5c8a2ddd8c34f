//! The real binary on real Dockerfiles: that everything is connected, and what users see.

#![cfg(test)]

mod world;

mod archives;
mod build;
mod build_errors;
mod cache;
mod changing;
mod confinement;
mod containers;
mod copy;
mod damage;
mod debian;
mod disk;
mod export;
mod faults;
mod history;
mod images;
mod interrupt;
mod keys;
mod language;
mod layers;
mod limits;
mod network;
mod power;
mod power_order;
mod readers;
mod recorded_disk;
mod registries;
mod remote;
mod remote_auth;
mod run_steps;
mod sharing;
mod standing;
mod step_limits;
mod vm;
