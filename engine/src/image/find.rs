//! From what the user typed to an image of the store: a name, an id, or the beginning of an id.

use oci::{Digest, Platform, Reference};
use store::{ImageRecord, NameRecord};

use crate::{Engine, Error};

/// The fewest digits that a beginning of an id may have.
const PREFIX_DIGITS_MIN: usize = 1;

/// An image that was found.
#[derive(Clone, Debug)]
pub struct FoundImage {
    /// The image.
    pub image: ImageRecord,
    /// The name that it was found by; `None` where it was found by its id.
    pub name: Option<Reference>,
}

impl Engine {
    /// Finds the image that `text` means: where a name has several, the best for this machine, or else the first.
    pub fn find_image(&self, text: &str) -> Result<FoundImage, Error> {
        let found = self.find_image_for(text, &Platform::host());
        if let Err(Error::NoSuchImage { .. }) = found
            && let Ok(reference) = text.parse::<Reference>()
            && let Some(record) = self.name_record(&reference)?
            && let Some(first) = record.images.first()
            && let Some(image) = self.store.image(&first.id)?
        {
            return Ok(FoundImage { image, name: Some(reference) });
        }
        found
    }

    /// Finds the image that `text` means, the best for `platform` where a name has several.
    ///
    /// Names come before ids, as with Docker.
    pub fn find_image_for(&self, text: &str, platform: &Platform) -> Result<FoundImage, Error> {
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(image) = self.named_image(&reference, platform)?
        {
            return Ok(FoundImage { image, name: Some(reference) });
        }
        let id = self.find_id(text)?;
        let image = self.store.image(&id)?;
        Ok(FoundImage { image: image.ok_or_else(|| no_such_image(text))?, name: None })
    }

    /// Returns the id that `text` is, or is the beginning of.
    fn find_id(&self, text: &str) -> Result<Digest, Error> {
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let is_prefix = prefix.len() >= PREFIX_DIGITS_MIN && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_prefix {
            return Err(no_such_image(text));
        }
        let prefix = prefix.to_ascii_lowercase();
        let mut ids = self.store.images()?.into_iter().map(|image| image.id).filter(|id| id.hex().starts_with(&prefix));
        let id = ids.next().ok_or_else(|| no_such_image(text))?;
        match ids.next() {
            Some(_) => Err(Error::Ambiguous { prefix: text.to_owned() }),
            None => Ok(id),
        }
    }

    /// Returns the best image for `platform` behind a name; `Ok(None)` means that the name does not exist, or has no image that fits.
    ///
    /// A reference with a digest is found by the digest that its repository had at the registry.
    pub(crate) fn named_image(&self, reference: &Reference, platform: &Platform) -> Result<Option<ImageRecord>, Error> {
        let Some(record) = self.name_record(reference)? else { return Ok(None) };
        let ranked = record.images.iter().filter_map(|named| Some((platform.rank(&named.platform)?, named)));
        match ranked.min_by_key(|(rank, _)| *rank) {
            Some((_, named)) => Ok(self.store.image(&named.id)?),
            None => Ok(None),
        }
    }

    pub(crate) fn name_record(&self, reference: &Reference) -> Result<Option<NameRecord>, Error> {
        let Some(digest) = reference.digest() else { return Ok(self.store.name(reference)?) };
        let same_repository =
            |name: &Reference| (name.registry(), name.repository()) == (reference.registry(), reference.repository());
        let mut names = self.store.names()?.into_iter();
        Ok(names
            .find(|(name, record)| same_repository(name) && record.digest == Some(*digest))
            .map(|(_, record)| record))
    }
}

pub(crate) fn no_such_image(name: &str) -> Error {
    Error::NoSuchImage { name: name.to_owned() }
}
