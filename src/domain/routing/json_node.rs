//! JSON that knows where it stands, so that what is wrong in a file can be pointed at.

use crate::domain::routing::sources::{Lines, Note, Refused, Severity, VERCEL_JSON, position};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A value of a `vercel.json`, unread so far.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    document: &'a str,
    lines: &'a Lines,
    text: &'a str,
}

impl<'a> Node<'a> {
    /// The whole document, once it is known to be JSON.
    pub fn root(document: &'a str, lines: &'a Lines) -> Result<Self, Refused> {
        match serde_json::from_str::<&RawValue>(document) {
            Ok(raw) => Ok(Self { document, lines, text: raw.get() }),
            Err(error) => {
                let message = error.to_string();
                let message =
                    message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
                let number = |count: usize| u32::try_from(count).ok();
                // What ends before it begins is told to be in no column.
                let (line, column) = (number(error.line().max(1)), number(error.column().max(1)));
                Err(refused(line, column, format!("is not valid JSON: {message}")))
            }
        }
    }

    fn offset(&self) -> usize {
        // The text is a part of the document: both are borrowed from one string.
        (self.text.as_ptr() as usize).saturating_sub(self.document.as_ptr() as usize)
    }

    pub fn line(&self) -> u32 {
        self.lines.line(self.offset())
    }

    pub fn is_text(&self) -> bool {
        self.text.starts_with('"')
    }

    /// What is wrong here.
    pub fn refuse(&self, message: impl Into<String>) -> Refused {
        let (line, column) = position(self.document, self.offset());
        refused(Some(line), Some(column), message.into())
    }

    fn inner(&self, text: &'a RawValue) -> Self {
        Self { text: text.get(), ..*self }
    }

    /// Reads the value, which must be `what`.
    fn read<T: Deserialize<'a>>(&self, name: &str, what: &str) -> Result<T, Refused> {
        serde_json::from_str(self.text).map_err(|_| self.refuse(format!("{name} must be {what}")))
    }

    pub fn object(&self, name: &str) -> Result<BTreeMap<String, Node<'a>>, Refused> {
        let fields: BTreeMap<String, &RawValue> = self.read(name, "an object")?;
        Ok(fields.into_iter().map(|(key, raw)| (key, self.inner(raw))).collect())
    }

    /// An object whose every key is known.
    pub fn strict_object(&self, name: &str, known: &[&str]) -> Result<BTreeMap<String, Node<'a>>, Refused> {
        let fields = self.object(name)?;
        match fields.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, node)) => {
                let key: String = key.chars().take(60).collect();
                Err(node.refuse(format!("{name} has no field {key:?}: known are {}", known.join(", "))))
            }
            None => Ok(fields),
        }
    }

    pub fn array(&self, name: &str, most: usize) -> Result<Vec<Node<'a>>, Refused> {
        let items: Vec<&RawValue> = self.read(name, "an array")?;
        if items.len() > most {
            return Err(
                self.refuse(format!("{name} has {} members: at most {most} are possible", items.len()))
            );
        }
        Ok(items.into_iter().map(|raw| self.inner(raw)).collect())
    }

    pub fn is_object(&self) -> bool {
        self.text.starts_with('{')
    }

    pub fn text(&self, name: &str, most: usize) -> Result<String, Refused> {
        let text: String = self.read(name, "a text")?;
        if text.chars().count() > most {
            return Err(self.refuse(format!("{name} has more than {most} characters")));
        }
        Ok(text)
    }

    pub fn flag(&self, name: &str) -> Result<bool, Refused> {
        self.read(name, "true or false")
    }

    pub fn number(&self, name: &str) -> Result<f64, Refused> {
        self.read(name, "a number")
    }
}

fn refused(line: Option<u32>, column: Option<u32>, message: String) -> Refused {
    Refused(Note { severity: Severity::Error, file: Some(VERCEL_JSON.to_owned()), line, column, message })
}
