//! The encoders: bytes in, the codings of them that are worth keeping out. Which files are coded is
//! `worker::codings`'.
//!
//! Start with [`encode`].

use crate::domain::coding::Coding;
use crate::domain::manifest::{Coded, Codings};
use crate::worker::collect::Origin;
use bytes::Bytes;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio_util::sync::CancellationToken;

/// How hard the encoders try, by the levels of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    brotli: i32,
    zstd: i32,
    gzip: u32,
}

const MIB: u64 = 1024 * 1024;
const QUICKEST: Effort = Effort { brotli: 4, zstd: 6, gzip: 6 };
const QUICK: Effort = Effort { brotli: 5, zstd: 6, gzip: 6 };
const THOROUGH: Effort = Effort { brotli: 9, zstd: 15, gzip: 9 };
const SMALLEST: Effort = Effort { brotli: 11, zstd: 19, gzip: 9 };

impl Effort {
    /// What so many bytes are worth. A repository of plain files is live in the blink of an eye, and
    /// stays so; where a build ran, a few seconds more are none that anybody notices. Each bound is
    /// where one core takes about ten seconds (of pages; the first, three), by the figures in
    /// `docs/storage.md`.
    pub fn of(origin: Origin, bytes: u64) -> Self {
        match origin {
            Origin::Build if bytes <= 2 * MIB => SMALLEST,
            Origin::Build if bytes <= 24 * MIB => THOROUGH,
            Origin::Build | Origin::Repository if bytes <= 64 * MIB => QUICK,
            Origin::Build | Origin::Repository => QUICKEST,
        }
    }
}

/// The codings of a file that are worth keeping, with their bytes. An encoder that fails, or does
/// not come to its turn before `stop`, has made nothing.
pub fn encode(raw: &[u8], effort: Effort, stop: &CancellationToken) -> (Codings, Vec<(Coding, Bytes)>) {
    let mut codings = Codings::default();
    let mut kept = Vec::new();
    for coding in Coding::ALL {
        if stop.is_cancelled() {
            break;
        }
        // Strangers choose the bytes: a panic over them costs this coding of this file alone.
        let made = catch_unwind(AssertUnwindSafe(|| encoded(raw, coding, effort)));
        let made =
            made.map_err(|_| "it panicked".to_owned()).and_then(|made| made.map_err(|e| e.to_string()));
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(%coding, error, "a file could not be compressed");
                continue;
            }
        };
        if let Some(coded) = Coded::of(&made).filter(|_| is_worth(raw.len(), made.len())) {
            codings = codings.with(coding, coded);
            kept.push((coding, Bytes::from(made)));
        }
    }
    (codings, kept)
}

/// A twentieth is what an object more has to save: below, it only takes room in caches.
fn is_worth(raw: usize, coded: usize) -> bool {
    coded <= raw - raw.div_ceil(20)
}

fn encoded(raw: &[u8], coding: Coding, effort: Effort) -> std::io::Result<Vec<u8>> {
    match coding {
        Coding::Brotli => brotli(raw, effort.brotli),
        // At level 19 the window has 8 MiB, the most that browsers take (RFC 9659).
        Coding::Zstd => zstd::bulk::compress(raw, effort.zstd),
        Coding::Gzip => {
            let level = flate2::Compression::new(effort.gzip);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(raw)?;
            encoder.finish()
        }
    }
}

fn brotli(raw: &[u8], quality: i32) -> std::io::Result<Vec<u8>> {
    // The window of a small file is small: so are the tables, which take longer than the coding.
    let bits = usize::BITS - raw.len().leading_zeros() + 1;
    let lgwin = i32::try_from(bits).unwrap_or(22).clamp(10, 22);
    let params =
        brotli::enc::BrotliEncoderParams { quality, lgwin, size_hint: raw.len(), ..Default::default() };
    let mut made = Vec::new();
    brotli::BrotliCompress(&mut &raw[..], &mut made, &params)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut raw = Vec::new();
        match coding {
            Coding::Brotli => brotli::BrotliDecompress(&mut &bytes[..], &mut raw).unwrap(),
            Coding::Zstd => raw = zstd::decode_all(bytes).unwrap(),
            Coding::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut raw).unwrap()),
        }
        raw
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn every_coding_reads_back_at_every_effort() {
        let text: Vec<u8> = (0..300).flat_map(|n| format!("line {n} of a page\n").into_bytes()).collect();
        for effort in [QUICKEST, QUICK, THOROUGH, SMALLEST] {
            let (codings, made) = encode(&text, effort, &CancellationToken::new());
            assert_eq!(made.len(), Coding::ALL.len());
            for (coding, bytes) in made {
                assert_eq!(decoded(coding, &bytes), text, "{coding} {effort:?}");
                assert_eq!(codings.get(coding), Coded::of(&bytes));
            }
        }
    }

    #[test]
    fn a_file_is_coded_in_the_same_way_each_time() {
        let text = "the same words again and again, ".repeat(100);
        let once = || encode(text.as_bytes(), QUICK, &CancellationToken::new()).0;
        assert_eq!(once(), once());
    }

    #[test]
    fn what_does_not_save_a_twentieth_is_not_kept() {
        assert!(is_worth(2000, 1900) && !is_worth(2000, 1901));
        let (codings, made) = encode(&noise(4096), QUICK, &CancellationToken::new());
        assert!(codings.is_empty() && made.is_empty());
    }

    #[test]
    fn nothing_is_coded_once_it_is_to_stop() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(encode(&[b'a'; 4096], QUICK, &stop).0.is_empty());
    }

    #[test]
    fn more_time_is_taken_where_a_build_took_some_and_there_is_not_much() {
        assert_eq!(Effort::of(Origin::Repository, 1), QUICK);
        assert_eq!(Effort::of(Origin::Build, 2 * MIB), SMALLEST);
        assert_eq!(Effort::of(Origin::Build, 2 * MIB + 1), THOROUGH);
        assert_eq!(Effort::of(Origin::Build, 24 * MIB + 1), QUICK);
        for origin in [Origin::Build, Origin::Repository] {
            assert_eq!(Effort::of(origin, 64 * MIB), QUICK);
            assert_eq!(Effort::of(origin, 64 * MIB + 1), QUICKEST);
        }
    }
}
