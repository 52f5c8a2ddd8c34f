//! Where results go: the store, an OCI layout, a Docker archive, a tar of the files, a directory.

mod annotation;
mod archive;
mod blob;
mod bundle;
mod draft;
mod files;
mod output;
mod push;
mod stream;

use oci::{Reference, Timestamp};
use store::{ImageRecord, NameRecord, NamedImage, Snapshot};
use tokio_util::sync::CancellationToken;

pub use annotation::{Annotation, AnnotationLevel, AnnotationParseError, parse_annotations};
pub use archive::Destination;
pub use blob::Compression;
pub use output::{
    BundleKind, BundleOutput, EpochChoice, FilesOutput, Output, OutputParseError, PushOutput, StoreOutput,
};

pub(crate) use bundle::{BundleImage, write_bundle};

use crate::build::Metadata;
use crate::event_sink::OwnStep;
use crate::{Engine, Error};

/// What is to be exported, and where to.
pub(crate) struct ExportRequest<'a> {
    /// The images, one for each platform.
    pub(crate) images: &'a [ImageRecord],
    /// Their files.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Their names.
    pub(crate) tags: &'a [Reference],
    /// What `SOURCE_DATE_EPOCH` says.
    pub(crate) epoch: Option<Timestamp>,
    /// Where to; none is the store.
    pub(crate) outputs: &'a [Output],
}

/// Returns what users see while results are exported.
pub(crate) fn step_name(outputs: &[Output]) -> String {
    let names: Vec<&str> = outputs.iter().map(Output::step_name).collect();
    if names.is_empty() { "exporting to image".to_owned() } else { format!("exporting to {}", names.join(" and ")) }
}

impl Engine {
    pub(crate) async fn export_all(
        &self,
        export: &ExportRequest<'_>,
        step: &OwnStep,
        cancel: &CancellationToken,
    ) -> Result<Metadata, Error> {
        let default = [Output::Store(StoreOutput::default())];
        let outputs = if export.outputs.is_empty() { &default[..] } else { export.outputs };
        let mut metadata =
            Metadata { config_digest: (export.images.len() == 1).then(|| export.images[0].id), ..Metadata::default() };
        let mut named = export.tags.to_vec();
        for output in outputs {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match output {
                Output::Store(output) => {
                    named.extend(own_names(export, &output.names).iter().cloned());
                    self.put_in_store(export, output, step, &mut metadata)?;
                    if let Some(push) = &output.push {
                        let descriptor = self.push(export, (output, push), step, cancel).await?;
                        (metadata.digest, metadata.descriptor) = (Some(descriptor.digest), Some(descriptor));
                    }
                }
                Output::Bundle(output) => {
                    named.extend(own_names(export, &output.names).iter().cloned());
                    let _part = step.part(format!("sending {}", output.kind.name()));
                    let descriptor = self.export_bundle(export, output, cancel).await?;
                    (metadata.digest, metadata.descriptor) = (Some(descriptor.digest), Some(descriptor));
                }
                Output::Files(output) => {
                    let _part = step.part("copying files");
                    self.export_files(export, output, cancel).await?;
                }
                Output::Nowhere => {}
            }
        }
        metadata.name = names(&named);
        Ok(metadata)
    }

    fn put_in_store(
        &self,
        export: &ExportRequest<'_>,
        output: &StoreOutput,
        step: &OwnStep,
        metadata: &mut Metadata,
    ) -> Result<(), Error> {
        let tags = own_names(export, &output.names);
        let updated = Timestamp::now();
        let named = |image: &ImageRecord| NamedImage { platform: image.platform.clone(), id: image.id };
        let record = NameRecord { images: export.images.iter().map(named).collect(), digest: None, updated };
        let names: Vec<(Reference, NameRecord)> = tags.iter().map(|tag| (tag.clone(), record.clone())).collect();
        self.store.put_images(export.images, &names)?;
        for image in export.images {
            drop(step.part(format!("writing image {}", image.id)));
        }
        for tag in tags {
            drop(step.part(format!("naming to {tag}")));
        }
        // An image has no manifest before somebody needs one; until then it goes by its config.
        metadata.digest = metadata.config_digest;
        Ok(())
    }
}

/// Returns the names that an output gives: those of the request, else its own. buildx does so too: `-t` wins over `name=`.
fn own_names<'a>(export: &ExportRequest<'a>, names: &'a [Reference]) -> &'a [Reference] {
    if export.tags.is_empty() { names } else { export.tags }
}

/// Returns names joined by commas, each once; `None` where there are none.
fn names(named: &[Reference]) -> Option<String> {
    let mut texts: Vec<String> = Vec::with_capacity(named.len());
    for text in named.iter().map(Reference::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    (!texts.is_empty()).then(|| texts.join(","))
}
