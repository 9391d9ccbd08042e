//! The gaps that removed records leave in a log file.
//!
//! The offset of a record never changes: it counts the bytes of the removed records before it too.
//! A compacted file has its list of gaps after the file header, as a record: the offset and the
//! length of each gap, u32 each.

use super::position::RecordLocation;
use super::record::{FILE_HEADER_BYTES, HEADER_BYTES, Header, Salt, Tag};
use std::ops::Range;

/// The gaps of a file, in order and not adjacent. A file without gaps has no list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(Vec<Range<u32>>);

impl Gaps {
    /// Returns the gaps after the removal of further records.
    pub(super) fn with(&self, removed: &[RecordLocation]) -> Gaps {
        let mut ranges = self.0.clone();
        ranges.extend(removed.iter().map(|location| location.offset..location.end().offset));
        ranges.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u32>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Gaps(merged)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of removed bytes.
    pub(super) fn removed_bytes(&self) -> u64 {
        self.0.iter().map(|gap| u64::from(gap.end - gap.start)).sum()
    }

    /// Returns the size of the list in the file, in bytes.
    pub(super) fn list_bytes(&self) -> u64 {
        if self.is_empty() { 0 } else { (HEADER_BYTES as usize + 8 * self.0.len()) as u64 }
    }

    /// Returns the size of a file before any removal, from its size on the disk.
    pub(super) fn original_size(&self, size_on_disk: u64) -> u64 {
        size_on_disk.saturating_sub(self.list_bytes()).saturating_add(self.removed_bytes())
    }

    /// Returns where the byte at an offset is in the file; `None` if it was removed.
    pub(super) fn place_on_disk(&self, offset: u32) -> Option<u64> {
        let before = self.0.partition_point(|gap| gap.end <= offset);
        if self.0.get(before).is_some_and(|gap| gap.start <= offset) {
            return None;
        }
        let removed: u64 = self.0[..before].iter().map(|gap| u64::from(gap.end - gap.start)).sum();
        Some(u64::from(offset).saturating_add(self.list_bytes()).saturating_sub(removed))
    }

    /// Returns the offset after the gap that starts at an offset, or the offset if none does.
    pub(super) fn skip(&self, offset: u32) -> u32 {
        let gap = self.0.binary_search_by_key(&offset, |gap| gap.start);
        gap.map_or(offset, |gap| self.0[gap].end)
    }

    /// Whether a record was removed.
    pub(super) fn contains(&self, location: RecordLocation) -> bool {
        self.place_on_disk(location.offset).is_none()
    }

    /// Returns the parts of a file of this original size that remain, without the file header.
    pub(super) fn remaining(&self, size: u32) -> Vec<Range<u32>> {
        let starts = [FILE_HEADER_BYTES].into_iter().chain(self.0.iter().map(|gap| gap.end));
        let ends = self.0.iter().map(|gap| gap.start).chain([size]);
        starts.zip(ends).map(|(start, end)| start..end).filter(|part| !part.is_empty()).collect()
    }

    /// Encodes the list as a record.
    pub(super) fn encode(&self, salt: Salt) -> Vec<u8> {
        let fields = self.0.iter().flat_map(|gap| [gap.start, gap.end - gap.start]);
        let payload: Vec<u8> = fields.flat_map(u32::to_le_bytes).collect();
        [&Header::new(Tag::Gaps, 0, &payload, salt).encode(), &payload[..]].concat()
    }

    /// Decodes the payload of the list; `None` if it is malformed.
    pub(super) fn decode(payload: &[u8]) -> Option<Gaps> {
        let (pairs, rest) = payload.as_chunks::<8>();
        let mut end = FILE_HEADER_BYTES;
        let mut ranges = Vec::with_capacity(pairs.len());
        for [a, b, c, d, e, f, g, h] in pairs {
            let start = u32::from_le_bytes([*a, *b, *c, *d]);
            let next = start.checked_add(u32::from_le_bytes([*e, *f, *g, *h]))?;
            if start < end || next <= start {
                return None;
            }
            ranges.push(start..next);
            end = next.checked_add(1)?;
        }
        (rest.is_empty() && !ranges.is_empty()).then_some(Gaps(ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u32, length: u32) -> RecordLocation {
        RecordLocation { file: 0, offset, length }
    }

    fn gaps() -> Gaps {
        // The first two are adjacent.
        Gaps::default().with(&[record(100, 37), record(50, 37), record(500, 187)])
    }

    #[test]
    fn offsets_stay_and_bytes_move() {
        let gaps = gaps();
        assert_eq!(gaps, Gaps(vec![50..150, 500..700]));
        let list = 13 + 16;
        for (offset, place) in [
            (20, Some(20 + list)),
            (49, Some(49 + list)),
            (50, None),
            (149, None),
            (150, Some(50 + list)),
            (499, Some(399 + list)),
            (699, None),
            (700, Some(400 + list)),
        ] {
            assert_eq!(gaps.place_on_disk(offset), place, "{offset}");
        }
        assert_eq!((gaps.skip(50), gaps.skip(51), gaps.skip(500)), (150, 51, 700));
        assert_eq!((gaps.removed_bytes(), gaps.original_size(700 + list)), (300, 1_000));
        assert_eq!(gaps.remaining(1_000), [20..50, 150..500, 700..1_000]);
        assert_eq!(gaps.remaining(700), [20..50, 150..500]);
        assert!(gaps.contains(record(100, 37)) && !gaps.contains(record(150, 37)));
        let none = Gaps::default();
        assert_eq!((none.place_on_disk(77), none.original_size(77)), (Some(77), 77));
    }

    #[test]
    fn list_is_decoded_only_if_it_is_canonical() {
        let record = gaps().encode(Salt::random());
        let payload = &record[HEADER_BYTES as usize..];
        assert_eq!(record.len() as u64, gaps().list_bytes());
        assert_eq!(Gaps::decode(payload), Some(gaps()));
        let bytes = |pairs: &[[u32; 2]]| -> Vec<u8> {
            pairs.iter().flatten().flat_map(|number| number.to_le_bytes()).collect()
        };
        assert!(Gaps::decode(&bytes(&[[50, 10], [61, 10]])).is_some());
        for wrong in [
            bytes(&[]),
            payload[1..].to_vec(),
            bytes(&[[19, 10]]),
            bytes(&[[50, 0]]),
            bytes(&[[50, 10], [60, 10]]),
            bytes(&[[70, 10], [50, 10]]),
            bytes(&[[50, u32::MAX]]),
        ] {
            assert_eq!(Gaps::decode(&wrong), None, "{wrong:?}");
        }
    }
}
