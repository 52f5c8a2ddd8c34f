//! Mounts of layers on top of each other (overlayfs), made without a mount point.

mod by_call;
mod by_descriptor;
mod stack;

pub(crate) use by_descriptor::accepts_detached_layers;
pub use stack::{Durability, LAYERS_MAX, Layer, Overlay, OverlayError, Upper};
