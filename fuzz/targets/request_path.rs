//! A path from a stranger: it stays below the root, is the same when it is read again, and each part
//! of it is found where it was sent.
#![no_main]

use gv_fuzz::domain::manifest::SitePath;
use gv_fuzz::domain::request_path::{ENCODED_SLASH, RequestPath, pattern_text_of};
use gv_fuzz::site::MAX_INPUT;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &str| {
    if raw.len() > MAX_INPUT {
        return;
    }
    assert!(pattern_text_of(raw).len() <= raw.len());
    let Ok(path) = RequestPath::parse(raw) else { return };
    let text = path.pattern_text();
    if let Some(file) = path.file().filter(|file| !file.is_empty()) {
        let is_short = file.len() <= 4096 && file.split('/').all(|segment| segment.len() <= 255);
        assert_eq!(SitePath::parse(file).is_ok(), is_short, "{file:?}");
    }
    for segment in text.split('/') {
        assert!(!matches!(segment, "." | ".."), "{text:?}");
    }
    assert!(!text.chars().any(|c| c.is_control() && c != ENCODED_SLASH), "{text:?}");
    assert!(text.starts_with('/') && !text.contains("//"), "{text:?}");
    assert!(path.sent().starts_with('/') && !path.sent().contains("//"), "{}", path.sent());
    assert!(path.sent().len() <= raw.len() + 1 && text.len() <= path.sent().len());
    assert_eq!(path.is_folder(), text.ends_with('/'));

    let folders: Vec<&str> = path.folders().collect();
    assert_eq!(folders.last(), Some(&""));
    assert!(folders.windows(2).all(|pair| pair[0].starts_with(pair[1]) && pair[0].len() > pair[1].len()));

    let again = RequestPath::parse(path.sent()).unwrap();
    assert_eq!((again.pattern_text(), again.sent()), (text, path.sent()));
    assert_eq!((again.file(), again.is_folder()), (path.file(), path.is_folder()));
    assert_eq!(path.clone().into_owned(), path);

    for (at, _) in text.char_indices() {
        let (before, behind) = (path.sent_part(0..at), path.sent_part(at..text.len()));
        assert_eq!(format!("{before}{behind}"), path.sent());
        assert_eq!(pattern_text_of(before), text[..at]);
    }
});
