//! Where in a trace something happens, as processes tell each other (W3C Trace Context, level 1). A trace
//! begins with the request that asks for a deployment, and ends with its first visitor.

use crate::domain::text::Invalid;
use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A span of a trace. Neither id is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: u128,
    pub span: u64,
    /// Whether spans of it are told to anybody.
    pub is_sampled: bool,
}

/// The bit of `trace-flags` that says so.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// The beginning of a trace, of which `percent` of a hundred are sampled.
    pub fn begin(percent: u8, rng: &mut impl Rng) -> Self {
        let is_sampled = rng.random_range(0..100) < percent;
        Self { trace: rng.random_range(1..=u128::MAX), span: rng.random_range(1..=u64::MAX), is_sampled }
    }

    /// Another span of the same trace.
    pub fn next(&self, rng: &mut impl Rng) -> Self {
        Self { span: rng.random_range(1..=u64::MAX), ..*self }
    }
}

/// As `traceparent` has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

impl FromStr for TraceContext {
    type Err = Invalid;

    /// A version that is not known yet is read as far as this one goes.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        parse(text).ok_or_else(|| Invalid::new("is no traceparent such as 00-<32 hex>-<16 hex>-01"))
    }
}

fn parse(text: &str) -> Option<TraceContext> {
    let (version, rest) = field(text, 2)?;
    let (trace, rest) = field(rest.strip_prefix('-')?, 32)?;
    let (span, rest) = field(rest.strip_prefix('-')?, 16)?;
    let (flags, rest) = field(rest.strip_prefix('-')?, 2)?;
    let has_end = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    let context = TraceContext {
        trace: u128::from_str_radix(trace, 16).ok()?,
        span: u64::from_str_radix(span, 16).ok()?,
        is_sampled: u8::from_str_radix(flags, 16).ok()? & SAMPLED != 0,
    };
    (version != "ff" && has_end && context.trace != 0 && context.span != 0).then_some(context)
}

/// So many digits in lower case, and what comes behind.
fn field(text: &str, digits: usize) -> Option<(&str, &str)> {
    let (field, rest) = text.split_at_checked(digits)?;
    field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some((field, rest))
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written_as_the_specification_has_it() {
        let read: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!((read.trace, read.is_sampled), (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, true));
        assert_eq!(read.to_string(), EXAMPLE);
        let not_sampled = EXAMPLE.replace("-01", "-00");
        assert!(!not_sampled.parse::<TraceContext>().unwrap().is_sampled);
        for later in [EXAMPLE.replacen("00", "cc", 1), EXAMPLE.replacen("00", "cc", 1) + "-more"] {
            assert_eq!(later.parse::<TraceContext>().unwrap(), read, "{later}");
        }
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), read);
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "",
            "00",
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replace('b', "g"),
            &(EXAMPLE.to_owned() + "-more"),
            &(EXAMPLE.to_owned() + " "),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-011",
            "00-0\u{e9}f7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(bad.parse::<TraceContext>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_of_a_trace_share_its_id_and_its_sampling() {
        let mut rng = rand::rng();
        let first = TraceContext::begin(100, &mut rng);
        let second = first.next(&mut rng);
        assert!(first.is_sampled && second.is_sampled && first.trace == second.trace);
        assert_ne!(first.span, second.span);
        assert!(!TraceContext::begin(0, &mut rng).is_sampled);
    }
}
