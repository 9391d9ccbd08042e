//! Merging runs.

use super::run::{Cursor, Run};
use crate::store::blocks::LogError;

/// The key of a row, and its value or `None` if the key is removed.
pub type RowRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// The rows of several runs, sorted by key; of rows with the same key that of the newest run.
#[derive(Debug)]
pub struct Merge<'a> {
    /// Cursors behind the next row of each run, the oldest run first.
    inputs: Vec<Cursor<'a>>,
    /// The cursors whose row is the last that was returned, and have to advance.
    returned: Vec<usize>,
}

impl<'a> Merge<'a> {
    /// Merges runs, the oldest first.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn new(runs: impl IntoIterator<Item = &'a Run>) -> Result<Merge<'a>, LogError> {
        Merge::of_cursors(runs.into_iter().map(|run| Ok(run.rows_in_order())))
    }

    /// Merges the rows of runs from a key on, the oldest run first.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn from_key(
        runs: impl IntoIterator<Item = &'a Run>,
        key: &[u8],
    ) -> Result<Merge<'a>, LogError> {
        Merge::of_cursors(runs.into_iter().map(|run| run.seek(key)))
    }

    fn of_cursors(
        cursors: impl Iterator<Item = Result<Cursor<'a>, LogError>>,
    ) -> Result<Merge<'a>, LogError> {
        let mut inputs = Vec::new();
        for cursor in cursors {
            let mut cursor = cursor?;
            if cursor.advance()? {
                inputs.push(cursor);
            }
        }
        Ok(Merge { inputs, returned: Vec::new() })
    }

    /// Returns the next row.
    ///
    /// # Errors
    /// Returns a disk error.
    #[expect(clippy::should_implement_trait, reason = "the row borrows from the cursor")]
    pub fn next(&mut self) -> Result<Option<RowRef<'_>>, LogError> {
        // The last first, so that a removal does not move those that are left to advance.
        while let Some(at) = self.returned.pop() {
            if !self.inputs[at].advance()? {
                self.inputs.remove(at);
            }
        }
        let mut least: Option<usize> = None;
        for at in 0..self.inputs.len() {
            let key = self.inputs[at].key();
            match least.map(|least| key.cmp(self.inputs[least].key())) {
                Some(std::cmp::Ordering::Greater) => continue,
                Some(std::cmp::Ordering::Equal) => {}
                Some(std::cmp::Ordering::Less) | None => self.returned.clear(),
            }
            self.returned.push(at);
            least = Some(at);
        }
        // The last of those with the same key is that of the newest run.
        Ok(least.map(|at| (self.inputs[at].key(), self.inputs[at].value())))
    }
}
