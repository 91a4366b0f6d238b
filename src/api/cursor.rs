//! Where a list goes on: an opaque text for the client, a place in an order for us.

use crate::api::error::Problem;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::str::FromStr;

/// What a page of `what` begins after.
pub fn encode(what: &str, place: impl std::fmt::Display) -> String {
    URL_SAFE_NO_PAD.encode(format!("{what}:{place}"))
}

/// Reads a cursor of a list of `what`; one of another list, or made up, is invalid.
pub fn decode<T: FromStr>(what: &str, text: &str) -> Result<T, Problem> {
    let invalid = || Problem::invalid("cursor", "is not the next_cursor of this list");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let place = text.strip_prefix(what).and_then(|rest| rest.strip_prefix(':'));
    place.and_then(|place| place.parse().ok()).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_in_its_own_list_only() {
        let cursor = encode("deployments", 42);
        assert_eq!(decode::<i64>("deployments", &cursor).unwrap(), 42);
        assert!(decode::<i64>("projects", &cursor).is_err());
        for bad in ["", "42", "%%%", "ZGVwbG95bWVudHM6eA", &encode("deployments", "99999999999999999999")] {
            let problem = decode::<i64>("deployments", bad).unwrap_err();
            assert!(problem.to_string().starts_with("cursor "), "{bad}");
        }
    }
}
