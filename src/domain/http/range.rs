//! The part of a file that `Range` asks for (RFC 9110, 14).

use std::ops::Range;

/// It begins behind the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsatisfiable;

/// One range of bytes, clipped to a file of `size` bytes and never empty. `None` is the whole:
/// several ranges, another unit and what is no range mean that.
pub fn part(line: &[u8], size: u64) -> Result<Option<Range<u64>>, Unsatisfiable> {
    let Some((unit, spec)) = split(line, b'=') else { return Ok(None) };
    if !unit.trim_ascii().eq_ignore_ascii_case(b"bytes") {
        return Ok(None);
    }
    let Some((first, last)) = split(spec.trim_ascii(), b'-') else { return Ok(None) };
    let (first, last) = match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => (first, u64::MAX),
        (Some(first), Some(last)) if first <= last => (first, last),
        // The last bytes of nothing are all of it, which no part can say.
        (None, Some(1..)) if first.is_empty() && size == 0 => return Ok(None),
        (None, Some(suffix)) if first.is_empty() => (size - suffix.min(size), u64::MAX),
        _ => return Ok(None),
    };
    if first >= size {
        return Err(Unsatisfiable);
    }
    Ok(Some(first..last.saturating_add(1).min(size)))
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Digits alone; what is too large for a number is still larger than any file.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_clipped_refused_or_ignored_as_rfc_9110_says() {
        let part_of = |range: Range<u64>| Ok(Some(range));
        for (range, expected) in [
            ("bytes=0-3", part_of(0..4)),
            ("bytes=4-", part_of(4..10)),
            ("bytes=-3", part_of(7..10)),
            ("bytes=-30", part_of(0..10)),
            ("bytes=8-99", part_of(8..10)),
            ("bytes=0-99999999999999999999999", part_of(0..10)),
            ("bytes=0-18446744073709551615", part_of(0..10)),
            ("BYTES=0-0", part_of(0..1)),
            ("bytes = 0-1 ", part_of(0..2)),
            ("bytes=10-", Err(Unsatisfiable)),
            ("bytes=99999999999999999999999-", Err(Unsatisfiable)),
            ("bytes=18446744073709551616-18446744073709551617", Err(Unsatisfiable)),
            ("bytes=-0", Err(Unsatisfiable)),
            ("bytes=0-1,3-4", Ok(None)),
            ("bytes=3-1", Ok(None)),
            ("bytes=a-b", Ok(None)),
            ("bytes=1-b", Ok(None)),
            ("bytes=-", Ok(None)),
            ("bytes=--1", Ok(None)),
            ("bytes=+1-2", Ok(None)),
            ("bytes=1 - 2", Ok(None)),
            ("bytes", Ok(None)),
            ("lines=1-2", Ok(None)),
            ("", Ok(None)),
        ] {
            assert_eq!(part(range.as_bytes(), 10), expected, "{range}");
        }
    }

    #[test]
    fn an_empty_file_has_no_parts() {
        for range in ["bytes=0-", "bytes=0-0", "bytes=-0"] {
            assert_eq!(part(range.as_bytes(), 0), Err(Unsatisfiable), "{range}");
        }
        // It can be met (RFC 9110, 14.1.2), but a Content-Range cannot say so.
        assert_eq!(part(b"bytes=-5", 0), Ok(None));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_a_part_lies_within_the_file(
            range in "(bytes)?=?[0-9]{0,21}-?[0-9]{0,21}", size in 0u64..30,
        ) {
            if let Ok(Some(range)) = part(range.as_bytes(), size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }

        #[test]
        fn what_lies_within_the_file_comes_as_it_was_asked(
            first in 0u64..40, more in 0u64..40, beyond in 1u64..40,
        ) {
            let last = first + more;
            let line = format!("bytes={first}-{last}");
            prop_assert_eq!(part(line.as_bytes(), last + beyond), Ok(Some(first..last + 1)));
        }

        #[test]
        fn no_bytes_panic(line in prop::collection::vec(any::<u8>(), 0..40), size in any::<u64>()) {
            let _ = part(&line, size);
            let _ = part(&[b"bytes=", line.as_slice()].concat(), size);
        }
    }
}
