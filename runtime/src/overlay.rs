//! Mounts of layers on top of each other (overlayfs), made without a mount point.

mod by_call;
mod by_descriptor;
mod image;
mod loop_device;
mod stack;

pub(crate) use by_descriptor::accepts_detached_layers;
pub use image::{Image, ImageAccess, SharedImage};
pub use stack::{Durability, LAYERS_MAX, Layer, Overlay, OverlayError, Scratch, Upper};
