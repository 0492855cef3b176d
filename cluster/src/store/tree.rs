//! One ordered tree of bytes: sled's, or a simulated disk's.
//!
//! Writes reach memory at once and the disk with the next sync.

use super::StoreError;
use std::ops::RangeInclusive;

/// Key and value as read.
pub(super) type Pair = (sled::IVec, sled::IVec);
/// Writes that happen together or not at all; no value = remove.
pub(super) type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;
/// Pairs in order of their keys.
pub(super) type Pairs<'a> = Box<dyn DoubleEndedIterator<Item = Result<Pair, StoreError>> + 'a>;

/// See the module's text.
#[derive(Debug)]
pub(super) enum Tree {
    /// In the embedded database.
    Sled(sled::Tree),
    /// On a simulated disk.
    #[cfg(test)]
    Memory(crate::sim::disk::Tree),
}

impl Tree {
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<sled::IVec>, StoreError> {
        match self {
            Self::Sled(tree) => Ok(tree.get(key)?),
            #[cfg(test)]
            Self::Memory(tree) => Ok(tree.get(key.as_ref()).map(Into::into)),
        }
    }

    pub(super) fn write(&self, writes: Writes) -> Result<(), StoreError> {
        match self {
            Self::Sled(tree) => {
                let mut batch = sled::Batch::default();
                for (key, value) in writes {
                    match value {
                        Some(value) => batch.insert(key, value),
                        None => batch.remove(key),
                    }
                }
                Ok(tree.apply_batch(batch)?)
            }
            #[cfg(test)]
            Self::Memory(tree) => {
                tree.write(writes);
                Ok(())
            }
        }
    }

    pub(super) fn insert(&self, key: impl AsRef<[u8]>, value: Vec<u8>) -> Result<(), StoreError> {
        self.write(vec![(key.as_ref().to_vec(), Some(value))])
    }

    pub(super) fn remove(&self, key: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.write(vec![(key.as_ref().to_vec(), None)])
    }

    pub(super) fn range<K: AsRef<[u8]>>(&self, keys: RangeInclusive<K>) -> Pairs<'static> {
        match self {
            Self::Sled(tree) => Box::new(tree.range(keys).map(|item| Ok(item?))),
            #[cfg(test)]
            Self::Memory(tree) => {
                let (from, to) = (keys.start().as_ref(), keys.end().as_ref());
                let found = tree.range(from.to_vec()..=to.to_vec());
                Box::new(found.into_iter().map(|(k, v)| Ok((k.into(), v.into()))))
            }
        }
    }

    pub(super) fn iter(&self) -> Pairs<'static> {
        match self {
            Self::Sled(tree) => Box::new(tree.iter().map(|item| Ok(item?))),
            #[cfg(test)]
            Self::Memory(tree) => {
                let found = tree.range(Vec::new()..=vec![u8::MAX; 64]);
                Box::new(found.into_iter().map(|(k, v)| Ok((k.into(), v.into()))))
            }
        }
    }

    pub(super) fn last(&self) -> Result<Option<Pair>, StoreError> {
        self.iter().next_back().transpose()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }
}
