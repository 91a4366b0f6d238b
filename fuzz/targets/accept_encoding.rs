//! `Accept-Encoding`, one field a line: no coding is chosen that was not named, and the order is the
//! same however the list is cut into lines.
#![no_main]

use gv_fuzz::domain::coding::{Coding, CodingSet};
use gv_fuzz::domain::http::accept_encoding::Accepted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let accepted = Accepted::parse(&lines);
    let order: Vec<Coding> = accepted.iter().collect();
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    for (at, coding) in order.iter().enumerate() {
        assert!(text.contains(coding.token()) || text.contains('*'), "{coding} was not asked for");
        assert!(!order[..at].contains(coding), "{coding} twice");
    }

    assert_eq!(Accepted::parse([lines.join(&b","[..])]), accepted);
    assert_eq!(Accepted::parse(bytes.split(|byte| matches!(byte, b'\n' | b','))), accepted);
    assert_eq!(Accepted::parse(lines.iter().rev()), accepted, "the order of members says nothing");

    // Written anew, each with a quality below the one before.
    let written: Vec<String> =
        order.iter().zip(1..).map(|(coding, at)| format!("{coding};q=0.{}", 9 - at)).collect();
    assert_eq!(Accepted::parse([written.join(", ")]), accepted);
    // Refused, it is never chosen.
    let refused = Accepted::parse(lines.iter().copied().chain([&b"br;q=0"[..]]));
    let others: Vec<Coding> = order.iter().copied().filter(|coding| *coding != Coding::Brotli).collect();
    assert_eq!(refused.iter().collect::<Vec<_>>(), others);

    for bits in 0..8 {
        let kept = Coding::ALL.into_iter().filter(|coding| bits & 1 << coding.index() != 0);
        let kept = kept.fold(CodingSet::default(), CodingSet::with);
        let first = order.iter().copied().find(|coding| kept.has(*coding));
        assert_eq!(accepted.choose(kept), first);
    }
});
