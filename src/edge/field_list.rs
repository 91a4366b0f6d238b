//! The fields of an answer while it is put together: set, replaced, taken away. Once they are
//! right they become lines that are sent as they stand.

use std::borrow::Cow;

/// In the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldList(Vec<(Cow<'static, str>, Cow<'static, str>)>);

impl FieldList {
    /// Sets a field in place of all of its name.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) {
        let name = name.into();
        self.remove(&name);
        self.append(name, value);
    }

    /// Adds a field beside others of its name. One that no answer can hold is left out: what rules
    /// and manifests say comes from strangers.
    pub fn append(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) {
        let (name, value) = (name.into(), value.into());
        if is_name(&name) && is_value(&value) {
            self.0.push((name, value));
        }
    }

    /// Adds to the list that a field is what is not in it (RFC 9110, 5.6.1).
    pub fn extend_list(&mut self, name: &'static str, members: &str) {
        let mut list: Vec<String> = self
            .get(name)
            .into_iter()
            .flat_map(|known| known.split(','))
            .map(|one| one.trim().to_owned())
            .collect();
        for member in members.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            if !list.iter().any(|known| known.eq_ignore_ascii_case(member)) {
                list.push(member.to_owned());
            }
        }
        if !list.is_empty() {
            self.set(name, list.join(", "));
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// As lines, those first for which `first` holds of the name; and where the others begin.
    pub fn lines(&self, first: impl Fn(&str) -> bool) -> (Vec<u8>, usize) {
        let mut lines = Vec::with_capacity(512);
        let mut write = |wanted: bool| {
            for (name, value) in self.0.iter().filter(|(name, _)| first(name) == wanted) {
                write_field(&mut lines, name, value.as_bytes());
            }
            lines.len()
        };
        let border = write(true);
        write(false);
        (lines, border)
    }
}

pub fn write_field(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

/// RFC 9110, 5.6.2.
fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// RFC 9110, 5.5.
fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_replaced_by_name_whatever_its_case_and_become_lines_in_order() {
        let mut fields = FieldList::default();
        fields.set("ETag", "\"a\"");
        fields.set("Content-Type", "text/html");
        fields.append("set-cookie", "a=b");
        fields.append("Set-Cookie", "c=d");
        fields.set("content-type", "text/css");
        let (lines, border) = fields.lines(|name| name != "content-type");
        let text = String::from_utf8(lines).unwrap();
        assert_eq!(&text[..border], "ETag: \"a\"\r\nset-cookie: a=b\r\nSet-Cookie: c=d\r\n");
        assert_eq!(&text[border..], "content-type: text/css\r\n");
    }

    #[test]
    fn no_field_breaks_out_of_its_line() {
        let mut fields = FieldList::default();
        for (name, value) in [("X", "a\r\nY: b"), ("X\r\nY", "b"), ("", "b"), ("X", "\0"), ("a b", "c")] {
            fields.set(name, value);
        }
        assert_eq!(fields, FieldList::default());
    }
}
