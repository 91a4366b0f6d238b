//! The codings that text is kept in beside itself (RFC 9110, 8.4.1): made when a site is deployed,
//! chosen by what a visitor's browser takes.

use std::fmt;

/// In the order in which gv offers them: the smallest first, as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

impl Coding {
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// As HTTP names it.
    pub fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// As files of it end, without the dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// Some of the codings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CodingSet(u8);

impl CodingSet {
    pub fn with(self, coding: Coding) -> Self {
        Self(self.0 | 1 << coding.index())
    }

    pub fn has(self, coding: Coding) -> bool {
        self.0 & 1 << coding.index() != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
