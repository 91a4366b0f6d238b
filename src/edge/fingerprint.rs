//! Whether a file's name carries a hash of its content, so that browsers may keep it for ever.
//!
//! A wrong yes shows visitors an old file for a year, a wrong no costs a question: so only folders
//! that build tools write to, and only names that no person gives.

/// Folders that belong to a build tool alone: all in them with a hash-like part is its work.
const TOOLS_OWN: &[&str] = &["_next/static/", "_astro/", "_nuxt/", "_app/immutable/"];
/// Folders that tools write to and people too.
const SHARED: &[&str] = &["assets/", "static/js/", "static/css/", "static/media/", "build/"];

/// `path` is a file's, relative.
pub fn is_fingerprinted(path: &str) -> bool {
    let within = |folders: &[&str]| {
        folders.iter().any(|folder| {
            path.match_indices(folder).any(|(at, _)| at == 0 || path.as_bytes()[at - 1] == b'/')
        })
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    // `name.hash.ext`, `name-hash.ext`, `name.hash.js.map`.
    let mut parts = name.split('.');
    let stem = parts.next().unwrap_or_default();
    let mut middle: Vec<&str> = parts.collect();
    if middle.pop().is_none() {
        return false;
    }
    if within(TOOLS_OWN) {
        return looks_mixed(stem)
            || stem.split_once('-').is_some_and(|(_, hash)| looks_mixed(hash))
            || middle.iter().any(|part| looks_mixed(part));
    }
    // Vite's hashes may have hyphens of their own, always at the same length.
    let tail =
        stem.len().checked_sub(9).and_then(|at| stem.get(at..)).and_then(|tail| tail.strip_prefix('-'));
    let dashed = stem.rsplit_once('-').map(|(_, hash)| hash);
    within(SHARED) && tail.into_iter().chain(dashed).chain(middle).any(|part| is_hex(part) || is_base64(part))
}

fn looks_mixed(part: &str) -> bool {
    part.len() >= 8
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && part.bytes().any(|b| b.is_ascii_digit())
}

/// Eight or more hexadecimal digits that are neither a date nor a word.
fn is_hex(part: &str) -> bool {
    part.len() >= 8
        && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && part.bytes().any(|b| b.is_ascii_digit())
        && part.bytes().any(|b| b.is_ascii_lowercase())
        && !is_day_month_year(part)
        // `decade10` is a name with a number.
        && changes(part) >= 2
}

/// How often letters in lower case, in upper case and digits take turns: often in a hash, once or
/// twice in `iPhone14`.
fn changes(part: &str) -> usize {
    let kind = |b: u8| (b.is_ascii_digit(), b.is_ascii_uppercase());
    part.as_bytes().windows(2).filter(|two| kind(two[0]) != kind(two[1])).count()
}

/// A number at its end and no digit before: people count so.
fn is_numbered(part: &str) -> bool {
    !part.trim_end_matches(|c: char| c.is_ascii_digit()).bytes().any(|b| b.is_ascii_digit())
}

/// One run of letters between digits: `2024feb12`.
fn is_day_month_year(part: &str) -> bool {
    let middle = part.trim_matches(|c: char| c.is_ascii_digit());
    let framed =
        part.starts_with(|c: char| c.is_ascii_digit()) && part.ends_with(|c: char| c.is_ascii_digit());
    framed && middle.bytes().all(|b| b.is_ascii_lowercase())
}

/// Eight characters with a digit: of base64, in both cases where names of people and cameras have
/// one, or of base32, with a letter behind a digit.
fn is_base64(part: &str) -> bool {
    let both_cases =
        part.bytes().any(|b| b.is_ascii_lowercase()) && part.bytes().skip(1).any(|b| b.is_ascii_uppercase());
    let base32 = part.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
        && part.as_bytes().windows(2).any(|two| two[0].is_ascii_digit() && two[1].is_ascii_uppercase());
    part.len() == 8
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && part.bytes().any(|b| b.is_ascii_digit())
        && (both_cases && changes(part) >= 4 && !is_numbered(part) || base32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(path: &str) -> bool {
        is_fingerprinted(path)
    }

    #[test]
    fn names_with_a_hash_in_folders_of_build_tools_are_fingerprinted() {
        for yes in [
            "assets/index-BkT7aQ2x.js",
            "assets/index-Bk-7aQ_x.css",
            "assets/logo.01a2bc3d.svg",
            "assets/index-4B2A7XQ2.js",
            "docs/assets/index-BkT7aQ2x.js",
            "myassets/assets/index-BkT7aQ2x.js",
            "static/js/main.1a2b3c4d.js",
            "static/js/main.1a2b3c4d.js.map",
            "_next/static/chunks/webpack-1a2b3c4d5e6f7a8b.js",
            "_next/static/css/ab12cd34ef56ab78.css",
            "_astro/page.BkT7aQ2x.css",
            "_app/immutable/chunks/BkT7aQ2x.js",
        ] {
            assert!(is(yes), "{yes}");
        }
    }

    #[test]
    fn names_that_people_give_are_not() {
        for no in [
            "index.html",
            "index-BkT7aQ2x.js",
            "assets/logo.svg",
            "assets/photo-20240101.jpg",
            "assets/hero-background2.png",
            "assets/font-awesome-4.7.0.css",
            "assets/report-january-2.pdf",
            "assets/facade-decade.png",
            "assets/team-IMG_1234.jpg",
            "assets/party-DSC01234.jpg",
            "assets/party-DSC23456.jpg",
            "assets/price-Q42024EN.pdf",
            "assets/menu-2024feb12.pdf",
            "assets/hero-iPhone14.png",
            "assets/case-S24Ultra.jpg",
            "assets/team-JohnDoe1.jpg",
            "assets/photo-decade10.png",
            "myassets/index-BkT7aQ2x.js",
            "assets/noextension-1a2b3c4d",
            "_next/static/chunks/main.js",
        ] {
            assert!(!is(no), "{no}");
        }
    }
}
