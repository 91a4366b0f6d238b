//! Patterns as JavaScript writes them, in the syntax of the engines that run them here: vercel's
//! sources and values are `RegExp`s without flags (ECMA-262, 22.2.1 and annex B.1.2).
//!
//! The two agree on nearly all that people write; where they do not, JavaScript's meaning counts:
//! `[\w-.]` is a class of three, `\p{L}` the text `p{L}`, `a{,3}` no repetition. What JavaScript
//! refuses is refused. Start with [`translated`].

use crate::domain::routing::matcher::escaped;
use crate::domain::text::Invalid;
use std::iter::Peekable;
use std::str::Chars;

/// What becomes of groups with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Keep,
    /// They are groups that count nowhere: whoever asks counts its own.
    Drop,
}

/// The same pattern for the engines of [`matcher`](crate::domain::routing::matcher).
pub fn translated(text: &str, names: Names) -> Result<String, Invalid> {
    let mut reading = Reading { rest: text.chars().peekable(), out: String::new(), known: Vec::new(), names };
    reading.pattern()?;
    Ok(reading.out)
}

struct Reading<'t> {
    rest: Peekable<Chars<'t>>,
    out: String,
    known: Vec<String>,
    names: Names,
}

/// What a class has from here to there, both included.
type Ranges = Vec<(char, char)>;

const LAST: char = char::MAX;
const DIGIT: [(char, char); 1] = [('0', '9')];
const WORD: [(char, char); 4] = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
/// White space and ends of lines.
const SPACE: [(char, char); 10] = [
    ('\t', '\r'),
    (' ', ' '),
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{feff}', '\u{feff}'),
];

/// What stands behind a `\`.
enum Escape {
    Char(char),
    Class(Ranges),
    /// `\b` and `\B`, which take no character.
    Border(char),
}

impl Reading<'_> {
    fn pattern(&mut self) -> Result<(), Invalid> {
        // For each open group: whether it may be repeated when it is closed.
        let mut open: Vec<bool> = Vec::new();
        // Whether there is something before that can be repeated.
        let mut repeats = false;
        while let Some(c) = self.rest.next() {
            repeats = match c {
                '(' => {
                    open.push(self.group()?);
                    false
                }
                ')' => {
                    self.out.push(')');
                    open.pop().ok_or_else(|| Invalid::new("has a ) without ("))?
                }
                '[' => {
                    self.class()?;
                    true
                }
                '*' | '+' | '?' => self.repetition(repeats, &c.to_string())?,
                '{' => match self.count()? {
                    Some(count) => self.repetition(repeats, &count)?,
                    None => {
                        self.out.push_str("\\{");
                        true
                    }
                },
                '|' | '^' | '$' => {
                    self.out.push(c);
                    false
                }
                '.' => {
                    self.out.push('.');
                    true
                }
                '\\' => self.escaped_atom()?,
                other => {
                    self.literal(other);
                    true
                }
            };
        }
        if open.is_empty() { Ok(()) } else { Err(Invalid::new("has a ( without )")) }
    }

    fn literal(&mut self, c: char) {
        self.out.push_str(&escaped(c.encode_utf8(&mut [0; 4])));
    }

    /// What begins a group. Whether it may be repeated.
    fn group(&mut self) -> Result<bool, Invalid> {
        if self.rest.next_if_eq(&'?').is_none() {
            self.out.push('(');
            return Ok(true);
        }
        let unknown = || Invalid::new("has a group that JavaScript does not know");
        match self.rest.next().ok_or_else(unknown)? {
            kind @ (':' | '=' | '!') => {
                self.out.push_str("(?");
                self.out.push(kind);
                Ok(true)
            }
            '<' => match self.rest.next_if(|c| matches!(c, '=' | '!')) {
                Some(kind) => {
                    self.out.push_str("(?<");
                    self.out.push(kind);
                    Ok(false)
                }
                None => self.name().map(|()| true),
            },
            _ => Err(unknown()),
        }
    }

    fn name(&mut self) -> Result<(), Invalid> {
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('>') => break,
                Some(c) if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                _ => {
                    return Err(Invalid::new(
                        "has a group whose name is none here: letters, digits and _ are",
                    ));
                }
            }
        }
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Invalid::new("has a group whose name begins with no letter"));
        }
        if self.known.contains(&name) {
            return Err(Invalid::new(format!("has two groups of the name {name}")));
        }
        match self.names {
            Names::Keep => self.out.push_str(&format!("(?<{name}>")),
            Names::Drop => self.out.push_str("(?:"),
        }
        self.known.push(name);
        Ok(())
    }

    /// Adds what repeats, and whether it takes as little as it can. Nothing may repeat it again.
    fn repetition(&mut self, repeats: bool, how: &str) -> Result<bool, Invalid> {
        if !repeats {
            return Err(Invalid::new(format!("has {how} behind nothing that repeats")));
        }
        self.out.push_str(how);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(false)
    }

    /// What is behind a `{`, where it counts: `{1}`, `{1,}`, `{1,2}`. All else is text.
    fn count(&mut self) -> Result<Option<String>, Invalid> {
        let mut ahead = self.rest.clone();
        let digits = |ahead: &mut Peekable<Chars<'_>>| {
            let mut number = String::new();
            while let Some(digit) = ahead.next_if(char::is_ascii_digit) {
                number.push(digit);
            }
            number
        };
        let least = digits(&mut ahead);
        let most = ahead.next_if_eq(&',').map(|_| digits(&mut ahead));
        if least.is_empty() || ahead.next() != Some('}') {
            return Ok(None);
        }
        let number = |text: &str| text.parse::<u32>().map_err(|_| Invalid::new("repeats more than can be"));
        let count = match most.as_deref() {
            None => format!("{{{}}}", number(&least)?),
            Some("") => format!("{{{},}}", number(&least)?),
            Some(most) => {
                let (least, most) = (number(&least)?, number(most)?);
                if least > most {
                    return Err(Invalid::new("has a repetition whose numbers are out of order"));
                }
                format!("{{{least},{most}}}")
            }
        };
        self.rest = ahead;
        Ok(Some(count))
    }

    /// An escape outside of a class. Whether it may be repeated.
    fn escaped_atom(&mut self) -> Result<bool, Invalid> {
        match self.escape(false)? {
            Escape::Char(c) => self.literal(c),
            Escape::Class(ranges) => self.out.push_str(&class_of(&ranges, false)),
            Escape::Border(c) => {
                self.out.push('\\');
                self.out.push(c);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn escape(&mut self, in_class: bool) -> Result<Escape, Invalid> {
        let c = self.rest.next().ok_or_else(|| Invalid::new("ends with a \\"))?;
        Ok(match c {
            'd' => Escape::Class(DIGIT.to_vec()),
            'D' => Escape::Class(others(&DIGIT)),
            'w' => Escape::Class(WORD.to_vec()),
            'W' => Escape::Class(others(&WORD)),
            's' => Escape::Class(SPACE.to_vec()),
            'S' => Escape::Class(others(&SPACE)),
            'b' if in_class => Escape::Char('\u{8}'),
            'b' | 'B' if !in_class => Escape::Border(c),
            'f' => Escape::Char('\u{c}'),
            'n' => Escape::Char('\n'),
            'r' => Escape::Char('\r'),
            't' => Escape::Char('\t'),
            'v' => Escape::Char('\u{b}'),
            '0'..='7' if in_class || c == '0' => Escape::Char(self.octal(c)),
            '1'..='9' if !in_class => {
                return Err(Invalid::new("refers back to a group, which gv's patterns cannot"));
            }
            'k' if !in_class && self.rest.peek() == Some(&'<') => {
                return Err(Invalid::new("refers back to a group, which gv's patterns cannot"));
            }
            'c' => self.control()?,
            'x' => Escape::Char(self.hexadecimal(2).and_then(char::from_u32).unwrap_or('x')),
            'u' => Escape::Char(self.utf16()?),
            other => Escape::Char(other),
        })
    }

    /// Up to three digits, below 256 (annex B).
    fn octal(&mut self, first: char) -> char {
        let mut value = first.to_digit(8).unwrap_or_default();
        for _ in 0..2 {
            let next = self.rest.peek().and_then(|c| c.to_digit(8)).map(|digit| value * 8 + digit);
            match next.filter(|next| *next < 256) {
                Some(next) => value = next,
                None => break,
            }
            self.rest.next();
        }
        char::from_u32(value).unwrap_or_default()
    }

    /// `\cA`.
    fn control(&mut self) -> Result<Escape, Invalid> {
        let letter = self.rest.next_if(char::is_ascii_alphabetic);
        let letter = letter.ok_or_else(|| Invalid::new("has a \\c without a letter behind it"))?;
        Ok(Escape::Char(char::from(letter as u8 % 32)))
    }

    /// A number of so many digits, where all of them stand there.
    fn hexadecimal(&mut self, digits: u32) -> Option<u32> {
        let mut ahead = self.rest.clone();
        let mut value = 0;
        for _ in 0..digits {
            value = value * 16 + ahead.next()?.to_digit(16)?;
        }
        self.rest = ahead;
        Some(value)
    }

    /// `\uD83D\uDE00` is one character, as it is of a text.
    fn utf16(&mut self) -> Result<char, Invalid> {
        let Some(first) = self.hexadecimal(4) else { return Ok('u') };
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        let is_pair = self.rest.next_if_eq(&'\\').is_some() && self.rest.next_if_eq(&'u').is_some();
        let second = if is_pair { self.hexadecimal(4) } else { None };
        let units = [Some(first), second].into_iter().flatten().map(|unit| unit as u16);
        match char::decode_utf16(units).next() {
            Some(Ok(c)) => Ok(c),
            _ => Err(Invalid::new("has half of a character, which no address has")),
        }
    }

    /// What is behind a `[`.
    fn class(&mut self) -> Result<(), Invalid> {
        let is_negated = self.rest.next_if_eq(&'^').is_some();
        let mut ranges = Ranges::new();
        let unclosed = || Invalid::new("has a [ without ]");
        while let Some(first) = self.member()? {
            let mut ahead = self.rest.clone();
            let is_range = ahead.next() == Some('-') && ahead.next() != Some(']');
            if !is_range {
                add(&mut ranges, &first);
                continue;
            }
            self.rest.next();
            let last = self.member()?.ok_or_else(unclosed)?;
            match (&first, &last) {
                (Escape::Char(first), Escape::Char(last)) if first > last => {
                    return Err(Invalid::new("has a range whose ends are out of order"));
                }
                (Escape::Char(first), Escape::Char(last)) => ranges.push((*first, *last)),
                // A class is no end of a range: the `-` is text (annex B).
                _ => [first, Escape::Char('-'), last].iter().for_each(|one| add(&mut ranges, one)),
            }
        }
        self.out.push_str(&class_of(&ranges, is_negated));
        Ok(())
    }

    /// One character of a class, or a class in it. `None`: it ends.
    fn member(&mut self) -> Result<Option<Escape>, Invalid> {
        match self.rest.next() {
            None => Err(Invalid::new("has a [ without ]")),
            Some(']') => Ok(None),
            Some('\\') => self.escape(true).map(Some),
            Some(c) => Ok(Some(Escape::Char(c))),
        }
    }
}

fn add(ranges: &mut Ranges, member: &Escape) {
    match member {
        Escape::Char(c) | Escape::Border(c) => ranges.push((*c, *c)),
        Escape::Class(more) => ranges.extend(more),
    }
}

/// All that is not in these, which are in order.
fn others(ranges: &[(char, char)]) -> Ranges {
    let mut others = Ranges::new();
    let mut from = Some('\0');
    for (first, last) in ranges {
        if let Some(from) = from
            && let Some(before) = before(*first)
            && from <= before
        {
            others.push((from, before));
        }
        from = behind(*last);
    }
    others.extend(from.map(|from| (from, LAST)));
    others
}

fn before(c: char) -> Option<char> {
    ('\0'..c).next_back()
}

fn behind(c: char) -> Option<char> {
    (c..=LAST).nth(1)
}

fn class_of(ranges: &[(char, char)], is_negated: bool) -> String {
    // Nothing is in an empty class, and everything in its opposite.
    if ranges.is_empty() {
        return if is_negated { "[\\s\\S]" } else { "[^\\s\\S]" }.to_owned();
    }
    let mut class = if is_negated { "[^" } else { "[" }.to_owned();
    for (first, last) in ranges {
        push_member(&mut class, *first);
        if last > first {
            class.push('-');
            push_member(&mut class, *last);
        }
    }
    class.push(']');
    class
}

fn push_member(class: &mut String, c: char) {
    match c {
        // In classes of other engines these begin something.
        '\\' | ']' | '[' | '^' | '-' | '&' | '~' => class.extend(['\\', c]),
        c if c.is_control() || c == LAST => class.push_str(&format!("\\x{{{:X}}}", c as u32)),
        c => class.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::routing::matcher::{Budget, Matcher};

    /// With one engine, and by looking ahead with the other.
    fn finds(pattern: &str, text: &str) -> bool {
        let pattern = translated(pattern, Names::Keep).unwrap();
        let find = |start: &str| {
            let matcher = Matcher::new(&format!("^{start}(?:{pattern})$"))
                .unwrap_or_else(|why| panic!("{pattern}: {why}"));
            matcher.find(text, &mut Budget::default()).is_some()
        };
        let found = find("");
        assert_eq!(find("(?!\u{2})"), found, "both engines agree: {pattern} on {text:?}");
        found
    }

    #[test]
    fn patterns_mean_what_they_mean_in_javascript() {
        for (pattern, matching, other) in [
            ("[\\w-.]+", "a-b.c_9", "a b"),
            ("[a-\\d]+", "a-5", "b"),
            ("[\\d-x]+", "5-x", "w"),
            ("a{,3}", "a{,3}", "aaa"),
            ("a{3", "a{3", "aaa"),
            ("a{2}", "aa", "a"),
            ("a{1,}?b", "aab", "b"),
            ("\\p{L}+", "p{L}}", "é"),
            ("[^]+", "a\u{b}b", ""),
            ("[^\\D]", "5", "٣"),
            ("\\d", "5", "٣"),
            ("\\w", "_", "é"),
            ("\\W", "é", "_"),
            ("\\s", "\u{a0}", "\u{200b}"),
            ("\\S", "\u{200b}", "\u{a0}"),
            ("[\\s\\S]", "\u{a0}", ""),
            ("[a&&b]+", "a&b", "c"),
            ("[[:alpha:]]", "a]", "b"),
            ("[~^&[-]+", "~^&[-", "a"),
            ("\\e\\Z\\z\\A\\a\\p", "eZzAap", ""),
            ("\\x41\\u0042\\u00e9", "ABé", ""),
            ("\\x4\\u12", "x4u12", ""),
            ("\\uD83D\\uDE00", "😀", ""),
            ("\\cA", "\u{1}", "cA"),
            ("\\0\\012[\\101]", "\0\nA", ""),
            ("[\\b]", "\u{8}", "b"),
            ("a]b}c", "a]b}c", ""),
            ("\\/\\-\\_\\<\\>", "/-_<>", ""),
            ("(?<x>a)(?:b)(?=c)c(?!d)(?<=c)(?<!d)", "abc", "abd"),
            ("#(a|b| )~&", "# ~&", "#~&"),
            ("caf\u{e9}[\u{e0}-\u{ff}]", "café\u{e9}", "cafée"),
        ] {
            assert!(finds(pattern, matching), "{pattern} with {matching:?}");
            assert!(!finds(pattern, other) || other.is_empty(), "{pattern} with {other:?}");
        }
        assert!(!finds("a[]", "a") && !finds("[]", ""), "nothing is in an empty class");
        assert!(finds("\\bfoo\\b", "foo") && !finds("fo\\bo", "foo"));
    }

    #[test]
    fn what_javascript_refuses_is_refused() {
        for bad in [
            "(",
            ")",
            "[",
            "[z-a]",
            "[a--b]",
            "*a",
            "a**",
            "a++",
            "a{1}{2}",
            "a{2,1}",
            "(?i)a",
            "(?i:a)",
            "(?#c)a",
            "(?>a)",
            "(?P<x>a)",
            "(?<x>a)(?<x>b)",
            "(?<1>a)",
            "(?<>a)",
            "(?",
            "\\",
            "^*",
            "(?<=a)*b",
            "a|*",
            "a{99999999999}",
            // JavaScript knows these; the engines here cannot run them.
            "(a)\\1",
            "(?<x>a)\\k<x>",
            "\\uD83D",
        ] {
            assert!(translated(bad, Names::Keep).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_groups_are_dropped_where_another_counts() {
        assert_eq!(translated("(?<a>x)(?<b>y)", Names::Drop).unwrap(), "(?:x)(?:y)");
        assert_eq!(translated("(?<a>x)", Names::Keep).unwrap(), "(?<a>x)");
    }
}
