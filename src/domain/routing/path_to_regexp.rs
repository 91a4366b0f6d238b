//! vercel's sources: path-to-regexp 6.1 (`strict`, `sensitive`, delimiter `/`), read as that library
//! reads them and turned into one regular expression.
//!
//! Known forms: `:a`, `:a(\d+)`, `:a?`, `:a*`, `:a+`, `{-:a}?`, `(.*)` without a name, `\` before a
//! character that means itself, look-ahead inside parentheses. Start with [`pattern`].

use crate::domain::request_path::pattern_text_of;
use crate::domain::routing::javascript::{Names, translated};
use crate::domain::routing::matcher::escaped;
use crate::domain::routing::pattern::Pattern;
use crate::domain::text::Invalid;

/// What a placeholder stands for unless it says so: a segment that is not empty.
const SEGMENT: &str = "[^/]+?";

/// Reads a source. Groups without a name are called `#1`, `#2` ... by their place. One that begins
/// with neither a slash nor a group is for no path.
pub fn pattern(source: &str) -> Result<Pattern, Invalid> {
    let tokens = parse(source)?;
    if let [] | [Token::Text(_)] = &tokens[..] {
        let text = tokens.first().map_or("", |token| match token {
            Token::Text(text) => text.as_str(),
            Token::Group(_) => "",
        });
        return Ok(Pattern::exact(source, vec![pattern_text_of(text)]));
    }
    let prefix = match tokens.first() {
        Some(Token::Text(text)) => pattern_text_of(text),
        _ => String::new(),
    };
    let mut names: Vec<String> = Vec::new();
    let mut regex = "^".to_owned();
    for token in &tokens {
        match token {
            Token::Text(text) => regex.push_str(&escaped(&pattern_text_of(text))),
            Token::Group(group) => {
                regex.push_str(&group.regex()?);
                if !group.pattern.is_empty() {
                    // Of two with one name destinations know the later; the other keeps its number.
                    if let Some(at) = names.iter().position(|name| *name == group.name) {
                        names[at] = format!("#{at} {}", group.name);
                    }
                    names.push(group.name.clone());
                }
            }
        }
    }
    regex.push('$');
    Pattern::matching(source, &regex, prefix, names)
}

#[derive(Debug)]
enum Token {
    Text(String),
    Group(Group),
}

#[derive(Debug)]
struct Group {
    name: String,
    prefix: String,
    suffix: String,
    /// Empty: only text, which `{}` made optional or repeated.
    pattern: String,
    modifier: Option<char>,
}

impl Group {
    /// As path-to-regexp's `tokensToRegexp` puts it.
    fn regex(&self) -> Result<String, Invalid> {
        let text = |text: &str| escaped(&pattern_text_of(text));
        let (prefix, suffix, pattern) = (text(&self.prefix), text(&self.suffix), &self.pattern);
        let modifier = self.modifier.map(String::from).unwrap_or_default();
        if pattern.is_empty() {
            return Ok(format!("(?:{prefix}{suffix}){modifier}"));
        }
        let pattern = translated(pattern, Names::Drop)?;
        Ok(match self.modifier {
            Some('*' | '+') if !prefix.is_empty() || !suffix.is_empty() => {
                let optional = if self.modifier == Some('*') { "?" } else { "" };
                format!("(?:{prefix}((?:{pattern})(?:{suffix}{prefix}(?:{pattern}))*){suffix}){optional}")
            }
            // The group is around the repetition, so that the value is all of it.
            Some('*' | '+') => format!("((?:{pattern}){modifier})"),
            _ => format!("(?:{prefix}({pattern}){suffix}){modifier}"),
        })
    }
}

/// The names of placeholders in a part of a destination; a group without a name is `None`. Nothing
/// where the part is no pattern: it is text then, and so is the rest of the destination.
pub fn names_in(part: &str) -> Result<Vec<Option<String>>, Invalid> {
    let groups = parse(part)?.into_iter().filter_map(|token| match token {
        Token::Group(group) if !group.pattern.is_empty() => Some(group.name),
        _ => None,
    });
    Ok(groups.map(|name| Some(name).filter(|name| !name.starts_with('#'))).collect())
}

/// Pieces of a source, as path-to-regexp's lexer cuts it.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Open,
    Close,
    Name(String),
    Pattern(String),
    Modifier(char),
    Escaped(char),
    Char(char),
}

fn parse(source: &str) -> Result<Vec<Token>, Invalid> {
    let pieces = lex(source)?;
    let mut rest = pieces.iter().peekable();
    let (mut tokens, mut text, mut unnamed) = (Vec::new(), String::new(), 0);
    let flush = |text: &mut String, tokens: &mut Vec<Token>| {
        if !text.is_empty() {
            tokens.push(Token::Text(std::mem::take(text)));
        }
    };
    while let Some(piece) = rest.next() {
        let before = match piece {
            Piece::Char(c) => Some(*c),
            _ => None,
        };
        let head = if before.is_some() { rest.peek().copied() } else { Some(piece) };
        if let Some(head @ (Piece::Name(_) | Piece::Pattern(_))) = head {
            if before.is_some() {
                rest.next();
            }
            let (name, pattern) = name_and_pattern(head, &mut rest);
            // Only these two belong to the group that they stand before.
            let prefix = before.filter(|c| matches!(c, '.' | '/'));
            text.extend(before.filter(|_| prefix.is_none()));
            flush(&mut text, &mut tokens);
            unnamed += usize::from(name.is_none());
            tokens.push(Token::Group(Group {
                name: name.unwrap_or_else(|| format!("#{unnamed}")),
                prefix: prefix.map(String::from).unwrap_or_default(),
                suffix: String::new(),
                pattern: pattern.unwrap_or_else(|| SEGMENT.to_owned()),
                modifier: modifier(&mut rest),
            }));
            continue;
        }
        match piece {
            Piece::Char(c) | Piece::Escaped(c) => text.push(*c),
            Piece::Open => {
                flush(&mut text, &mut tokens);
                tokens.push(Token::Group(braces(&mut rest, &mut unnamed)?));
            }
            Piece::Modifier(c) => return Err(Invalid::new(format!("has {c} behind nothing that repeats"))),
            Piece::Close => return Err(Invalid::new("has a } without {")),
            Piece::Name(_) | Piece::Pattern(_) => {}
        }
    }
    flush(&mut text, &mut tokens);
    Ok(tokens)
}

type Rest<'p> = std::iter::Peekable<std::slice::Iter<'p, Piece>>;

fn name_and_pattern(head: &Piece, rest: &mut Rest<'_>) -> (Option<String>, Option<String>) {
    match head {
        Piece::Name(name) => {
            let pattern = rest.next_if(|piece| matches!(piece, Piece::Pattern(_)));
            let pattern = pattern.and_then(|piece| match piece {
                Piece::Pattern(pattern) => Some(pattern.clone()),
                _ => None,
            });
            (Some(name.clone()), pattern)
        }
        Piece::Pattern(pattern) => (None, Some(pattern.clone())),
        _ => (None, None),
    }
}

fn modifier(rest: &mut Rest<'_>) -> Option<char> {
    match rest.next_if(|piece| matches!(piece, Piece::Modifier(_))) {
        Some(Piece::Modifier(c)) => Some(*c),
        _ => None,
    }
}

/// What stands between `{` and `}`.
fn braces(rest: &mut Rest<'_>, unnamed: &mut usize) -> Result<Group, Invalid> {
    let prefix = text_of(rest);
    let head = rest.next_if(|piece| matches!(piece, Piece::Name(_) | Piece::Pattern(_)));
    let (name, pattern) = head.map_or((None, None), |head| name_and_pattern(head, rest));
    let suffix = text_of(rest);
    if rest.next() != Some(&Piece::Close) {
        return Err(Invalid::new("has a { whose } is missing, or more than one placeholder in it"));
    }
    *unnamed += usize::from(name.is_none() && pattern.is_some());
    let pattern = match (&name, pattern) {
        (Some(_), None) => SEGMENT.to_owned(),
        (_, pattern) => pattern.unwrap_or_default(),
    };
    let name = name.unwrap_or_else(|| format!("#{unnamed}"));
    Ok(Group { name, prefix, suffix, pattern, modifier: modifier(rest) })
}

fn text_of(rest: &mut Rest<'_>) -> String {
    let mut text = String::new();
    while let Some(Piece::Char(c) | Piece::Escaped(c)) =
        rest.next_if(|piece| matches!(piece, Piece::Char(_) | Piece::Escaped(_)))
    {
        text.push(*c);
    }
    text
}

fn lex(source: &str) -> Result<Vec<Piece>, Invalid> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let behind = &rest[c.len_utf8()..];
        let (piece, len) = match c {
            '*' | '+' | '?' => (Piece::Modifier(c), 0),
            '{' => (Piece::Open, 0),
            '}' => (Piece::Close, 0),
            '\\' => match behind.chars().next() {
                Some(next) => (Piece::Escaped(next), next.len_utf8()),
                None => return Err(Invalid::new("ends with a \\")),
            },
            ':' => {
                let len = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let len = len.unwrap_or(behind.len());
                if len == 0 {
                    return Err(Invalid::new(
                        "has a : without a name behind it: write \\\\: for the character",
                    ));
                }
                (Piece::Name(behind[..len].to_owned()), len)
            }
            '(' => {
                let len = group(behind)?;
                (Piece::Pattern(behind[..len].to_owned()), len + 1)
            }
            other => (Piece::Char(other), 0),
        };
        pieces.push(piece);
        rest = &behind[len..];
    }
    Ok(pieces)
}

/// How long the pattern is that stands before its closing parenthesis, in bytes.
fn group(behind: &str) -> Result<usize, Invalid> {
    if behind.starts_with('?') {
        // As vercel's own examples have it: `/((?!api/).*)`.
        return Err(Invalid::new(
            "has a pattern that begins with ?: put it into a second pair of parentheses",
        ));
    }
    let mut depth = 1;
    let mut chars = behind.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return if at == 0 { Err(Invalid::new("has an empty pattern: ()")) } else { Ok(at) };
                }
            }
            '(' => {
                depth += 1;
                if !behind[at + 1..].starts_with('?') {
                    return Err(Invalid::new("has a group within a group: write (?:...) for it"));
                }
            }
            _ => {}
        }
    }
    Err(Invalid::new("has a ( whose ) is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request_path::RequestPath;
    use crate::domain::routing::matcher::Budget;

    fn found(source: &str, path: &str) -> Option<Vec<String>> {
        let pattern = pattern(source).unwrap();
        let path = RequestPath::parse(path).unwrap();
        let values = pattern.find(&path, &mut Budget::default())?;
        Some(pattern.names().iter().map(|name| values.get(name).unwrap().to_owned()).collect())
    }

    #[test]
    fn sources_match_as_path_to_regexp_matches_them() {
        for (source, path, expected) in [
            ("/x", "/x", Some(&[][..])),
            ("/x", "/x/", None),
            ("/x", "/X", None),
            ("/x/", "/x", None),
            ("/:a", "/b", Some(&["b"])),
            ("/:a", "/b/", None),
            ("/:a", "/", None),
            ("/:a/:b", "/1/2", Some(&["1", "2"])),
            ("/p/:id(\\d+)", "/p/12", Some(&["12"])),
            ("/p/:id(\\d+)", "/p/a", None),
            ("/p/:a?", "/p", Some(&[""])),
            ("/p/:a?", "/p/x", Some(&["x"])),
            ("/p/:a*", "/p", Some(&[""])),
            ("/p/:a*", "/p/x/y", Some(&["x/y"])),
            ("/p/:a+", "/p", None),
            ("/p/:a+", "/p/x/y", Some(&["x/y"])),
            ("/p{-:a}?", "/p", Some(&[""])),
            ("/p{-:a}?", "/p-x", Some(&["x"])),
            ("/p{/x}?/y", "/p/y", Some(&[])),
            ("/p{/x}?/y", "/p/x/y", Some(&[])),
            ("/(.*)", "/a/b", Some(&["a/b"])),
            ("/(.*)", "/", Some(&[""])),
            ("/a/(.*)/b/(\\d{1,3})", "/a/x/y/b/12", Some(&["x/y", "12"])),
            ("/a\\:b", "/a:b", Some(&[])),
            ("/a\\(b\\)", "/a(b)", Some(&[])),
            ("/:file.:ext", "/x.tar.gz", Some(&["x", "tar.gz"])),
            ("/((?!api/|_next/).*)", "/blog/x", Some(&["blog/x"])),
            ("/((?!api/|_next/).*)", "/api/x", None),
            ("/:path((?!uk/).*)", "/us/x", Some(&["us/x"])),
            ("/:path((?!uk/).*)", "/uk/x", None),
            ("/caf%C3%A9/:a", "/caf%c3%a9/a%20b", Some(&["a%20b"])),
            ("/a.b", "/axb", None),
            ("/:x([\\w-.]+)", "/a-b.c", Some(&["a-b.c"])),
            ("/:x([^])", "/a", Some(&["a"])),
            ("/:x(a{,3})", "/a{,3}", Some(&["a{,3}"])),
            ("/:x(\\p{L}+)/(.*)", "/p{L}/y", Some(&["p{L}", "y"])),
            ("/:x((?<n>a|b)c)/:y", "/ac/z", Some(&["ac", "z"])),
            ("(.*)", "/a/b", Some(&["/a/b"])),
            ("x", "/x", None),
            ("", "/", None),
        ] {
            let expected = expected.map(|values| values.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(found(source, path), expected, "{source} with {path}");
        }
    }

    #[test]
    fn of_two_placeholders_with_one_name_the_later_counts() {
        let pattern = pattern("/:x/:x/:y").unwrap();
        let path = RequestPath::parse("/1/2/3").unwrap();
        let values = pattern.find(&path, &mut Budget::default()).unwrap();
        assert_eq!((values.get("x"), values.get("y")), (Some("2"), Some("3")));
        assert_eq!(values.get(&pattern.names()[0]), Some("1"), "by its number");
    }

    #[test]
    fn what_path_to_regexp_refuses_is_refused() {
        for bad in [
            "/*",
            "/a?",
            "/:",
            "/(",
            "/()",
            "/(?:x)",
            "/((a+)+)b",
            "/{:a",
            "/}",
            "/{a:b:c}",
            "/a\\",
            "/([z-a])",
            "/:x((?i)a)",
            "/:x(a++)",
            "/:x(a|b)\\",
            "/:x((?P<n>a))",
        ] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_of_nested_repetitions_holds_nobody() {
        let long = format!("/{}", "a".repeat(4_000));
        for source in ["/((?:a+)+)b", "/((?!x)(?:a+)+)b", "/:a((?:a|aa)+(?!b))c"] {
            let began = std::time::Instant::now();
            assert_eq!(found(source, &long), None, "{source}");
            assert!(began.elapsed() < std::time::Duration::from_secs(2), "{source}");
        }
    }
}
