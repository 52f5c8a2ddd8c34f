//! The two keys of a step. `docs/cache-keys.md` has the table of what enters which, and why.

use llb::{Edge, Selection, Vertex};
use oci::{Digest, Hasher};

/// The version of what keys are made of, and of what executing an operation means. A change of either makes a new version, and so forgets all results.
pub const KEY_VERSION: &str = "kiln.key.1";

/// What stands in a definition key for one input.
#[derive(Clone, Copy, Debug)]
pub enum InputKey<'a> {
    /// The digest of what the step sees of a source.
    Pin(&'a Digest),
    /// The definition key of another step.
    Definition(&'a Digest),
}

/// Returns the definition key: what is to be done, to what, known before anything has run.
pub fn definition_key<'a>(vertex: &Vertex, inputs: impl IntoIterator<Item = InputKey<'a>>) -> Digest {
    let mut hasher = start(b"definition", vertex);
    for (input, key) in vertex.inputs.iter().zip(inputs) {
        let Edge { output, .. } = input.edge;
        match key {
            InputKey::Pin(pin) => {
                hasher.field(b"pin");
                hasher.field(pin.as_bytes());
            }
            InputKey::Definition(definition) => {
                hasher.field(b"definition");
                hasher.field(definition.as_bytes());
                let selection = input.selection.as_ref().map(Selection::digest);
                hasher.field(selection.as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
            }
        }
        hasher.field(&output.to_le_bytes());
    }
    hasher.finish()
}

/// Returns the content key: what is to be done, and what the step sees of each input.
pub fn content_key(vertex: &Vertex, contents: &[Digest]) -> Digest {
    let mut hasher = start(b"content", vertex);
    for content in contents {
        hasher.field(content.as_bytes());
    }
    hasher.finish()
}

fn start(kind: &[u8], vertex: &Vertex) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.field(KEY_VERSION.as_bytes());
    hasher.field(kind);
    hasher.field(vertex.key_digest.as_bytes());
    hasher
}
