//! Which of the codings that a file is kept in a visitor takes, as `Accept-Encoding` says it
//! (RFC 9110, 12.5.3). Read once a request, so nothing here allocates.
//!
//! Start with [`Accepted`].

use crate::domain::coding::{Coding, CodingSet};

/// The codings that a visitor takes, the best first. Without the field it is none: whoever does not
/// ask for a coding gets the file as it is, which every client can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// Two bits a place, the best in the lowest: 0 is none, else a coding's index and one.
    places: u8,
}

impl Accepted {
    /// Reads the lines of the field. Members that are none are passed over. Of equal qualities,
    /// [`Coding::ALL`] has the order. A coding that is named twice has the lower quality: what was
    /// refused once is not sent.
    pub fn parse(lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut qualities = Qualities::default();
        for line in lines {
            line.as_ref().split(|byte| *byte == b',').for_each(|member| qualities.read(member));
        }
        qualities.sorted()
    }

    /// The best coding that there is. `None`: the file as it is, also for those who refuse it so
    /// (`identity;q=0`) and take nothing else that there is: like other servers, gv rather sends
    /// what can be read than 406.
    pub fn choose(self, kept: CodingSet) -> Option<Coding> {
        if kept.is_empty() {
            return None;
        }
        self.iter().find(|coding| kept.has(*coding))
    }

    /// The best first.
    pub fn iter(self) -> impl Iterator<Item = Coding> {
        (0..Coding::ALL.len()).map_while(move |place| {
            let index = usize::from(self.places >> (2 * place) & 0b11).checked_sub(1)?;
            Coding::ALL.get(index).copied()
        })
    }
}

/// From 0 to 1000: the thousandths that RFC 9110, 12.4.2 allows.
type Quality = u16;

/// What the field says of each. `None`: nothing.
#[derive(Default)]
struct Qualities {
    codings: [Option<Quality>; Coding::ALL.len()],
    identity: Option<Quality>,
    /// Of all that is not named.
    any: Option<Quality>,
}

impl Qualities {
    fn read(&mut self, member: &[u8]) {
        let member = member.trim_ascii();
        let (name, quality) = match member.iter().position(|byte| *byte == b';') {
            None => (member, Some(1000)),
            Some(at) => (member[..at].trim_ascii_end(), weight(member[at + 1..].trim_ascii_start())),
        };
        let (Some(place), Some(quality)) = (self.place(name), quality) else { return };
        *place = Some(place.map_or(quality, |known| known.min(quality)));
    }

    /// By its length first: most clients name codings that gv has not.
    fn place(&mut self, name: &[u8]) -> Option<&mut Option<Quality>> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            1 if name == b"*" => Some(&mut self.any),
            2 if is("br") => Some(&mut self.codings[Coding::Brotli.index()]),
            4 if is("gzip") => Some(&mut self.codings[Coding::Gzip.index()]),
            4 if is("zstd") => Some(&mut self.codings[Coding::Zstd.index()]),
            // RFC 9110, 8.4.1.3.
            6 if is("x-gzip") => Some(&mut self.codings[Coding::Gzip.index()]),
            8 if is("identity") => Some(&mut self.identity),
            _ => None,
        }
    }

    fn sorted(&self) -> Accepted {
        // What is worse than the file as it is, where that one is named, is never sent.
        let least = self.identity.unwrap_or(0).max(1);
        let quality = |coding: Coding| self.codings[coding.index()].or(self.any).unwrap_or(0);
        let mut places = 0;
        for coding in Coding::ALL {
            if quality(coding) < least {
                continue;
            }
            let betters = Coding::ALL.into_iter().filter(|other| {
                let (own, other_quality) = (quality(coding), quality(*other));
                other_quality > own || other_quality == own && *other < coding
            });
            places |= (coding.index() as u8 + 1) << (2 * betters.count());
        }
        Accepted { places }
    }
}

/// `q=0.5`. `None`: it is no weight (RFC 9110, 12.4.2).
fn weight(text: &[u8]) -> Option<Quality> {
    let [b'q' | b'Q', b'=', value @ ..] = text else { return None };
    let (whole, thousandths) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut quality = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, unit) in thousandths.iter().zip([100, 10, 1]) {
        let value = digit.checked_sub(b'0').filter(|value| *value <= 9)?;
        quality += Quality::from(value) * unit;
    }
    (quality <= 1000).then_some(quality)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all() -> CodingSet {
        Coding::ALL.into_iter().fold(CodingSet::default(), CodingSet::with)
    }

    /// The tokens, the best first.
    fn order(lines: &[&str]) -> String {
        Accepted::parse(lines).iter().map(Coding::token).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_a_client_takes_comes_in_the_order_of_its_qualities_then_of_gv() {
        for (line, expected) in [
            ("gzip, deflate, br, zstd", "br zstd gzip"),
            ("gzip,deflate,br", "br gzip"),
            ("gzip;q=1.0, br;q=0.8, zstd;q=0.9", "gzip zstd br"),
            ("br;q=0.5, gzip;q=0.5", "br gzip"),
            ("br;q=0.999,gzip", "gzip br"),
            ("GZIP;Q=0.5, Br;q=0.001", "gzip br"),
            ("x-gzip", "gzip"),
            ("x-gzip;q=0, gzip", ""),
            ("br, br;q=0", ""),
            ("br ; q=0.5 ,\tgzip\t;\tq=1.000", "gzip br"),
            ("", ""),
            ("deflate", ""),
            ("identity", ""),
            ("compress, broccoli, gzippy", ""),
        ] {
            assert_eq!(order(&[line]), expected, "{line}");
        }
    }

    #[test]
    fn a_star_stands_for_all_that_is_not_named() {
        for (line, expected) in [
            ("*", "br zstd gzip"),
            ("*;q=0", ""),
            ("gzip, *;q=0", "gzip"),
            ("*;q=0.5, gzip", "gzip br zstd"),
            ("br;q=0, *", "zstd gzip"),
            ("br;q=0", ""),
            ("*, *;q=0", ""),
        ] {
            assert_eq!(order(&[line]), expected, "{line}");
        }
    }

    #[test]
    fn no_coding_is_chosen_that_is_worse_than_the_file_as_it_is() {
        for (line, expected) in [
            ("identity, gzip;q=0.5", ""),
            ("identity;q=0.5, gzip;q=0.4, br;q=0.5", "br"),
            ("identity;q=0.5, *;q=0.1, zstd", "zstd"),
            ("gzip, identity", "gzip"),
            ("identity;q=0, gzip;q=0.1", "gzip"),
            ("identity;q=0", ""),
            ("identity;q=0, *;q=0", ""),
        ] {
            assert_eq!(order(&[line]), expected, "{line}");
        }
    }

    #[test]
    fn members_that_are_none_are_passed_over() {
        for bad in [
            "br;q=2",
            "br;q=1.001",
            "br;q=0.1234",
            "br;q=.5",
            "br;q=-1",
            "br;q=",
            "br;q",
            "br;",
            "br;q=0.5;x=1",
            "br;level=5",
            "br;q= 0.5",
            "br;q=0.a",
            "br;q=0.:",
            "br;q=0.-",
            "br;q=0. 5",
            "br;q=0:5",
            "b r",
            "\"br\"",
            "br=1",
        ] {
            assert_eq!(order(&[&format!("{bad}, gzip;q=0.1,, ,")]), "gzip", "{bad}");
        }
        assert_eq!(Accepted::parse([&b"\xff\xfe, br"[..]]).choose(all()), Some(Coding::Brotli));
    }

    #[test]
    fn several_lines_are_one_list_and_none_is_no_coding() {
        assert_eq!(order(&["gzip", "br;q=0.5"]), "gzip br");
        assert_eq!(order(&[]), "");
        assert_eq!(Accepted::default(), Accepted::parse([""]));
    }

    #[test]
    fn the_best_that_there_is_gets_chosen() {
        let accepted = Accepted::parse(["gzip;q=0.5, br"]);
        assert_eq!(accepted.choose(all()), Some(Coding::Brotli));
        assert_eq!(accepted.choose(CodingSet::default().with(Coding::Gzip)), Some(Coding::Gzip));
        assert_eq!(accepted.choose(CodingSet::default().with(Coding::Zstd)), None);
        assert_eq!(accepted.choose(CodingSet::default()), None);
        assert_eq!(Accepted::default().choose(all()), None);
        assert_eq!(Accepted::parse(["identity;q=0"]).choose(all()), None, "the file as it is, not 406");
    }

    #[test]
    fn it_takes_one_byte() {
        assert_eq!(size_of::<Accepted>(), 1);
    }

    proptest! {
        #[test]
        fn nothing_is_chosen_that_the_client_did_not_name(
            line in "(gzip|br|zstd|x-gzip|\\*|identity|;| |,|q=|[01]|\\.|[a-z5]){0,16}",
        ) {
            let order = Accepted::parse([&line]).iter().collect::<Vec<_>>();
            for coding in &order {
                prop_assert!(line.contains(coding.token()) || line.contains('*'), "{}", line);
                prop_assert_eq!(order.iter().filter(|one| *one == coding).count(), 1);
            }
        }

        #[test]
        fn qualities_are_read_as_they_were_written(thousandths in 0u16..=1000) {
            let text = format!("q={}.{:03}", thousandths / 1000, thousandths % 1000);
            prop_assert_eq!(weight(text.as_bytes()), Some(thousandths));
        }

        #[test]
        fn a_line_more_is_a_member_more(
            members in prop::collection::vec("(gzip|br|zstd|\\*|identity)(;q=0\\.[0-9])?", 0..5),
        ) {
            prop_assert_eq!(Accepted::parse(&members), Accepted::parse([members.join(", ")]));
        }
    }
}
