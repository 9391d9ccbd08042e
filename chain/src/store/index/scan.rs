//! Records in the order of their keys, fetched some at a time: between two fetches nothing of
//! the engine is held, so a slow reader holds up neither writing nor closing.

use std::ops::Bound;
use std::vec;

use super::{IndexError, IndexReader};

/// Records fetched at a time.
const PAGE: usize = 256;

type Record = (Vec<u8>, Vec<u8>);

/// The records whose keys begin with a prefix. After an error it ends.
#[derive(Debug)]
pub struct Scan {
    reader: IndexReader,
    prefix: Vec<u8>,
    /// Where the next page begins; `None` after the last.
    from: Option<Bound<Vec<u8>>>,
    page: vec::IntoIter<Record>,
}

impl Scan {
    pub(super) fn new(reader: IndexReader, prefix: &[u8]) -> Scan {
        let from = Some(Bound::Included(prefix.to_owned()));
        Scan { reader, prefix: prefix.to_owned(), from, page: Vec::new().into_iter() }
    }

    fn fetch(&self, from: Bound<Vec<u8>>) -> Result<Vec<Record>, IndexError> {
        self.reader.engine.ask(|db| {
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
