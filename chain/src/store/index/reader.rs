//! Reading the index from any thread.

use super::engine::Engine;
use super::error::IndexError;
use std::ops::Bound;
use std::sync::Arc;
use std::vec;

/// The number of records that a scan fetches at a time.
const PAGE: usize = 256;

type Record = (Vec<u8>, Vec<u8>);

/// Reads the index from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IndexReader {
    pub(super) engine: Arc<Engine>,
}

impl IndexReader {
    pub(super) fn new(engine: Engine) -> IndexReader {
        IndexReader { engine: Arc::new(engine) }
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// Returns [`IndexError::Engine`], [`Full`](IndexError::Full) or
    /// [`Closed`](IndexError::Closed).
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.engine.call(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    /// Returns the records whose keys start with `prefix`, ordered by key. The scan is not a
    /// snapshot: concurrent changes appear in the records that are still to come.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Scan {
        let from = Some(Bound::Included(prefix.to_owned()));
        let page = Vec::new().into_iter();
        Scan { reader: self.clone(), prefix: prefix.to_owned(), from, page }
    }
}

/// An iterator over the records whose keys start with a prefix. It ends after an error.
///
/// Records are fetched page by page and no lock is held between two pages, so a slow reader delays
/// neither writing nor closing.
#[derive(Debug)]
pub struct Scan {
    reader: IndexReader,
    prefix: Vec<u8>,
    /// The start of the next page; `None` after the last one.
    from: Option<Bound<Vec<u8>>>,
    page: vec::IntoIter<Record>,
}

impl Scan {
    fn fetch(&self, from: Bound<Vec<u8>>) -> Result<Vec<Record>, IndexError> {
        self.reader.engine.call(|db| {
            db.range((from, Bound::Unbounded))
                .take_while(|record| {
                    record.as_ref().map_or(true, |(key, _)| key.starts_with(&self.prefix))
                })
                .take(PAGE)
                .map(|record| record.map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        })
    }
}

impl Iterator for Scan {
    type Item = Result<Record, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.page.next() {
            return Some(Ok(record));
        }
        let from = self.from.take()?;
        let page = match self.fetch(from) {
            Ok(page) => page,
            Err(error) => return Some(Err(error)),
        };
        let last = page.last().filter(|_| page.len() == PAGE);
        self.from = last.map(|(key, _)| Bound::Excluded(key.clone()));
        self.page = page.into_iter();
        self.page.next().map(Ok)
    }
}
