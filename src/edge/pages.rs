//! The pages that the edge has of its own, for when no site answers.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    title: &'static str,
    text: &'static str,
}

pub const NO_SITE: Page = Page {
    status: 404,
    title: "There is no site here",
    text: "No site goes by this name. If you have just deployed it, look at the address again.",
};
pub const NOT_FOUND: Page =
    Page { status: 404, title: "Page not found", text: "This site has no page at this address." };
pub const BAD_REQUEST: Page =
    Page { status: 400, title: "Bad request", text: "The address or the host of this request is malformed." };
pub const METHOD_NOT_ALLOWED: Page = Page {
    status: 405,
    title: "Method not allowed",
    text: "This site has files to read: only GET and HEAD work.",
};
pub const TOO_LONG: Page =
    Page { status: 414, title: "Address too long", text: "The address of this request is too long." };
pub const PRECONDITION_FAILED: Page = Page {
    status: 412,
    title: "Precondition failed",
    text: "The file is not the one that the request asked for.",
};
pub const UNSATISFIABLE: Page = Page {
    status: 416,
    title: "Range not satisfiable",
    text: "The file is shorter than the range that the request asked for.",
};
pub const BROKEN: Page = Page {
    status: 500,
    title: "Something is broken",
    text: "This file cannot be served. Its owner can deploy the site again.",
};
pub const TOO_MANY_FIELDS: Page = Page {
    status: 431,
    title: "Too many header fields",
    text: "The header fields of this request are too many or too long.",
};
pub const TOO_SLOW: Page =
    Page { status: 408, title: "Request timeout", text: "The request did not come within ten seconds." };
pub const UNAVAILABLE: Page = Page {
    status: 503,
    title: "For the moment, no answer",
    text: "This site cannot be reached for the moment. Please try again soon.",
};

/// What is not there, with the status that a rule gives it.
pub fn missing(status: u16) -> Page {
    Page { status, ..NOT_FOUND }
}

impl Page {
    pub fn html(&self) -> String {
        let Self { status, title, text } = self;
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{status} {title}</title>\n\
             <style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;\
             margin:20vh auto 0;padding:0 1.5rem}}h1{{font-size:1.5rem;margin:0}}p{{margin:.5rem 0}}\
             small{{opacity:.6}}</style>\n\
             <small>{status}</small>\n<h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
        )
    }
}
