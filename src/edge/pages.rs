//! The pages that the edge has of its own, for when no site answers.

use actix_web::http::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: StatusCode,
    title: &'static str,
    text: &'static str,
}

pub const NO_SITE: Page = Page {
    status: StatusCode::NOT_FOUND,
    title: "There is no site here",
    text: "No site goes by this name. If you have just deployed it, look at the address again.",
};
pub const NOT_FOUND: Page = Page {
    status: StatusCode::NOT_FOUND,
    title: "Page not found",
    text: "This site has no page at this address.",
};
pub const BAD_REQUEST: Page = Page {
    status: StatusCode::BAD_REQUEST,
    title: "Bad request",
    text: "The address or the host of this request is malformed.",
};
pub const METHOD_NOT_ALLOWED: Page = Page {
    status: StatusCode::METHOD_NOT_ALLOWED,
    title: "Method not allowed",
    text: "This site has files to read: only GET and HEAD work.",
};
pub const TOO_LONG: Page = Page {
    status: StatusCode::URI_TOO_LONG,
    title: "Address too long",
    text: "The address of this request is too long.",
};
pub const PRECONDITION_FAILED: Page = Page {
    status: StatusCode::PRECONDITION_FAILED,
    title: "Precondition failed",
    text: "The file is not the one that the request asked for.",
};
pub const UNSATISFIABLE: Page = Page {
    status: StatusCode::RANGE_NOT_SATISFIABLE,
    title: "Range not satisfiable",
    text: "The file is shorter than the range that the request asked for.",
};
pub const BROKEN: Page = Page {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    title: "Something is broken",
    text: "This file cannot be served. Its owner can deploy the site again.",
};
pub const UNAVAILABLE: Page = Page {
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "For the moment, no answer",
    text: "This site cannot be reached for the moment. Please try again soon.",
};

/// What is not there, with the status that a rule gives it.
pub fn missing(status: u16) -> Page {
    Page { status: StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND), ..NOT_FOUND }
}

impl Page {
    pub fn html(&self) -> String {
        let Self { status, title, text } = self;
        let code = status.as_u16();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{code} {title}</title>\n\
             <style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;\
             margin:20vh auto 0;padding:0 1.5rem}}h1{{font-size:1.5rem;margin:0}}p{{margin:.5rem 0}}\
             small{{opacity:.6}}</style>\n\
             <small>{code}</small>\n<h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
        )
    }
}
