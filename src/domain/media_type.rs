//! Which media type a file of a site is served with, by its name alone.

/// What a name says nothing about. Browsers offer it as a download and run nothing of it.
pub const UNKNOWN: &str = "application/octet-stream";

/// The media type of a file, complete with its charset: everything that is text is UTF-8. The
/// extension's case does not matter.
pub fn of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, extension)) = name.rsplit_once('.') else { return by_whole_name(name).to_owned() };
    if stem.is_empty() {
        return UNKNOWN.to_owned();
    }
    let extension = extension.to_ascii_lowercase();
    if let Some(known) = by_extension(&extension) {
        return known.to_owned();
    }
    let Some(guess) = mime_guess::from_ext(&extension).first() else { return UNKNOWN.to_owned() };
    let essence = guess.essence_str();
    if guess.type_() == "text" { format!("{essence}; charset=utf-8") } else { essence.to_owned() }
}

/// Whether a coding makes files of this type smaller, as a rule: text, and what nothing has packed
/// yet.
pub fn is_compressible(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((kind, name)) = essence.split_once('/') else { return false };
    // RFC 6839: what is JSON or XML says so at the end.
    kind == "text"
        || name.ends_with("+json")
        || name.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/wasm"
                | "application/rtf"
                | "application/sql"
                | "application/toml"
                | "application/yaml"
                | "application/x-sh"
                | "application/x-javascript"
                | "application/vnd.ms-fontobject"
                | "font/ttf"
                | "font/otf"
                | "font/collection"
        )
}

/// Files without an extension whose type is nevertheless fixed, by those who read them.
fn by_whole_name(name: &str) -> &'static str {
    match name {
        // Apple, "Supporting associated domains": must be served as JSON.
        "apple-app-site-association" => "application/json",
        _ => UNKNOWN,
    }
}

/// Types that every site needs and that must not change with a library's table.
fn by_extension(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        // RFC 9239: text/javascript, for modules too.
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "txt" | "text" | "log" => "text/plain; charset=utf-8",
        "md" | "markdown" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "ics" => "text/calendar; charset=utf-8",
        "vtt" => "text/vtt; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        // JSON is UTF-8 by RFC 8259, 8.1: it has no charset parameter.
        "json" | "map" | "topojson" => "application/json",
        "jsonld" => "application/ld+json",
        "geojson" => "application/geo+json",
        "webmanifest" => "application/manifest+json",
        "rss" => "application/rss+xml",
        "atom" => "application/atom+xml",
        "xhtml" | "xht" => "application/xhtml+xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "glb" => "model/gltf-binary",
        "gltf" => "model/gltf+json",
        // A source file, not the MPEG transport stream that the tables know.
        "ts" | "tsx" | "mts" | "jsx" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf_8_and_json_has_no_charset() {
        for (path, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b/style.css", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("data.json", "application/json"),
            ("site.webmanifest", "application/manifest+json"),
            ("logo.svg", "image/svg+xml"),
            ("x.wasm", "application/wasm"),
            ("f.woff2", "font/woff2"),
            ("notes.rtx", "text/richtext; charset=utf-8"),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }

    #[test]
    fn text_is_compressible_and_what_is_packed_is_not() {
        for path in [
            "a.html",
            "a.css",
            "a.js",
            "a.mjs",
            "a.js.map",
            "a.json",
            "a.svg",
            "a.xml",
            "a.rss",
            "a.txt",
            "a.wasm",
            "a.webmanifest",
            "a.geojson",
            "a.gltf",
            "a.ttf",
            "a.otf",
            "a.eot",
            "a.md",
            "a.ts",
        ] {
            assert!(is_compressible(&of(path)), "{path} is {}", of(path));
        }
        for path in
            ["a.png", "a.jpg", "a.webp", "a.woff", "a.woff2", "a.mp4", "a.zip", "a.gz", "a.pdf", "LICENSE"]
        {
            assert!(!is_compressible(&of(path)), "{path} is {}", of(path));
        }
        assert!(
            is_compressible("TEXT/HTML;charset=utf-8") && !is_compressible("text") && !is_compressible("")
        );
    }

    #[test]
    fn the_case_of_an_extension_does_not_matter() {
        assert_eq!(of("INDEX.HTML"), of("index.html"));
        assert_eq!(of("photo.JPG"), "image/jpeg");
    }

    #[test]
    fn what_a_name_does_not_tell_is_a_stream_of_bytes() {
        for path in ["LICENSE", "a.b/c", ".html", "x.qqqq", "x."] {
            assert_eq!(of(path), UNKNOWN, "{path}");
        }
    }
}
