//! From columns to values and back. A column that does not parse is corruption, told with the
//! column's name and never with what was in it.

use crate::adapters::database::fault::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;
use time::OffsetDateTime;

/// Microseconds since 1970.
pub(super) fn micros(time: OffsetDateTime) -> i64 {
    // The years that `OffsetDateTime` knows (-9999 to 9999) are within 64 bits of microseconds.
    time.unix_timestamp_nanos().div_euclid(1_000) as i64
}

pub(super) fn time(column: &str, micros: i64) -> Result<OffsetDateTime, Fault> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .map_err(|error| Fault::corrupt(format!("{column} {error}")))
}

pub(super) fn parsed<T: FromStr<Err: Display>>(column: &str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error| Fault::corrupt(format!("{column} {error}")))
}

pub(super) fn parsed_if_any<T: FromStr<Err: Display>>(
    column: &str,
    text: Option<&str>,
) -> Result<Option<T>, Fault> {
    text.map(|text| parsed(column, text)).transpose()
}

pub(super) fn number<T: TryFrom<i64>>(column: &str, number: i64) -> Result<T, Fault> {
    T::try_from(number).map_err(|_| Fault::corrupt(format!("{column} is out of range")))
}

/// Values of the domain as JSON text.
pub(super) fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(Fault::defect)
}

pub(super) fn from_json<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, Fault> {
    // serde's error can quote the value, which may be a secret: its position is enough.
    serde_json::from_str(text).map_err(|error| {
        Fault::corrupt(format!(
            "{column} has unexpected JSON at line {} column {}",
            error.line(),
            error.column()
        ))
    })
}

/// A word of an enum, as serde writes it.
pub(super) fn word(value: &impl Serialize) -> Result<String, Fault> {
    match serde_json::to_value(value).map_err(Fault::defect)? {
        serde_json::Value::String(word) => Ok(word),
        _ => Err(Fault::defect("a value that is no word was to be stored as one")),
    }
}

pub(super) fn from_word<T: DeserializeOwned>(column: &str, word: &str) -> Result<T, Fault> {
    T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word))
        .map_err(|_| Fault::corrupt(format!("{column} has an unknown word")))
}
