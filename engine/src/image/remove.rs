//! Naming and removing images.

use oci::{Digest, Reference, Timestamp};
use store::{NameRecord, NamedImage};

use super::find::no_such_image;
use crate::{Engine, Error};

/// What a removal did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Name(Reference),
    /// An image is gone.
    Image(Digest),
}

impl Engine {
    /// Gives an image another name; one that pointed elsewhere points at it from now on.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), Error> {
        let found = self.find_image(source)?;
        // A name with images for several platforms is named as a whole.
        let record = match &found.name {
            Some(name) => self.name_record(name)?,
            None => None,
        };
        let named = || vec![NamedImage { platform: found.image.platform.clone(), id: found.image.id }];
        let images = record.map_or_else(named, |record| record.images);
        let record = NameRecord { images, digest: None, updated: Timestamp::now() };
        Ok(self.store.put_images(&[], &[(target.clone(), record)])?)
    }

    /// Removes a name, and with their last one its images; by id, the image with its name.
    ///
    /// What containers were made of stays unless `force` is set, and so does what has several names and is removed by its id.
    pub fn remove_image(&self, text: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let found = self.find_image(text)?;
        let names = self.names_of(&found.image.id)?;
        let (name, images) = match found.name {
            Some(name) => {
                // A name with a digest stands for whatever name has it.
                let name = names.into_iter().find(|other| *other == name || name.digest().is_some());
                let name = name.ok_or_else(|| no_such_image(text))?;
                let images = self.images_with_no_other_name(&name)?;
                (Some(name), images)
            }
            None if names.len() > 1 && !force => return Err(Error::ManyNames { image: found.image.id.short() }),
            None => (None, vec![found.image.id]),
        };
        images.iter().try_for_each(|image| self.refuse_in_use(text, image, force))?;
        let names = self.store.remove_images(name.as_ref(), &images)?;
        Ok(names.into_iter().map(Removed::Name).chain(images.into_iter().map(Removed::Image)).collect())
    }

    fn images_with_no_other_name(&self, name: &Reference) -> Result<Vec<Digest>, Error> {
        let named = self.name_record(name)?.map_or_else(Vec::new, |record| record.images);
        let mut images = Vec::new();
        for NamedImage { id, .. } in named {
            if self.names_of(&id)?.iter().all(|other| other == name) && !images.contains(&id) {
                images.push(id);
            }
        }
        Ok(images)
    }

    pub(crate) fn names_of(&self, id: &Digest) -> Result<Vec<Reference>, Error> {
        let names = self.store.names()?.into_iter();
        let names = names.filter(|(_, record)| record.images.iter().any(|named| named.id == *id));
        Ok(names.map(|(name, _)| name).collect())
    }

    fn refuse_in_use(&self, name: &str, id: &Digest, force: bool) -> Result<(), Error> {
        if force {
            return Ok(());
        }
        let container = self.store.containers()?.into_iter().find(|container| container.image == *id);
        match container {
            Some(container) => {
                let container = container.id.to_string()[..12].to_owned();
                Err(Error::ImageInUse { name: name.to_owned(), container, image: id.short() })
            }
            None => Ok(()),
        }
    }
}
