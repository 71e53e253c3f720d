//! The messages of a `.proto` file, as its text has them: their names, and in which order. Nothing else of it is looked at.

use super::wire::MessageIndexes;

/// A message and those within it.
#[derive(Debug, Default, PartialEq, Eq)]
struct MessageType {
    name: String,
    within: Vec<MessageType>,
}

/// The messages of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProtoFile(MessageType);

impl ProtoFile {
    /// Read the text of a file; what is none of Protocol Buffers' has no messages.
    pub(super) fn read(text: &str) -> Self {
        // The file itself is the lowest; a block that is no message has no name, and what is within it counts for none.
        let mut open = vec![Some(MessageType::default())];
        let mut words = Words(text).peekable();
        let mut begins = true;
        while let Some(word) = words.next() {
            match word {
                "message" if begins && open.last().is_some_and(Option::is_some) => {
                    let name = words.next().unwrap_or_default();
                    if words.next_if_eq(&"{").is_some() {
                        let (name, within) = (name.to_owned(), Vec::new());
                        open.push(Some(MessageType { name, within }));
                    }
                }
                "{" => open.push(None),
                "}" if open.len() > 1 => {
                    let done = open.pop().flatten();
                    if let (Some(done), Some(Some(around))) = (done, open.last_mut()) {
                        around.within.push(done);
                    }
                }
                _ => {}
            }
            begins = matches!(word, "{" | "}" | ";" | "message");
        }
        Self(open.swap_remove(0).unwrap_or_default())
    }

    /// Return the name of a message.
    pub(super) fn name_of(&self, indexes: MessageIndexes) -> Option<&str> {
        let found = indexes
            .places()
            .try_fold(&self.0, |around, place| around.within.get(place));
        found.map(|message| message.name.as_str())
    }
}

/// Say whether a Rust type is called as a message is; `prost` writes `paid_order` as `PaidOrder`.
pub(super) fn is_called(target: &str, message: &str) -> bool {
    let name = target.split('<').next().unwrap_or(target);
    let name = name.rsplit("::").next().unwrap_or(name);
    let plain = |name: &str| -> Vec<u8> {
        let letters = name.bytes().filter(|letter| *letter != b'_' && *letter != b'#');
        letters.map(|letter| letter.to_ascii_lowercase()).collect()
    };
    plain(name) == plain(message)
}

/// The words and signs of a file, without its comments and texts.
struct Words<'t>(&'t str);

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        loop {
            self.0 = self.0.trim_start();
            let first = self.0.chars().next()?;
            let length = match first {
                _ if self.0.starts_with("//") => self.0.find('\n').unwrap_or(self.0.len()),
                _ if self.0.starts_with("/*") => self.0.find("*/").map_or(self.0.len(), |end| end + 2),
                '"' | '\'' => text(self.0, first),
                _ => {
                    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '.';
                    let end = self.0.find(|letter| !is_word(letter)).unwrap_or(self.0.len());
                    let (word, rest) = self.0.split_at(end.max(first.len_utf8()));
                    self.0 = rest;
                    return Some(word);
                }
            };
            self.0 = &self.0[length..];
        }
    }
}

/// Return the length of a text between marks.
fn text(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (place, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == mark => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_in_their_order_and_nothing_else() {
        let file = ProtoFile::read(
            r#"
            syntax = "proto3"; // message Comment {
            package shop; /* message Comment { */
            option (note) = { text: "message Text {" };
            message Paid {
                string message = 1; message Line { map<string, int64> cents = 1; } enum Kind { CASH = 0; }
                oneof of { string order = 2; }
                message Other { message Deep {} }
            }
            enum message_kind { NONE = 0; }
            service Shop { rpc Pay (Paid) returns (paid_back) { option idempotency_level = IDEMPOTENT; } }
            message paid_back {}
            "#,
        );
        let message = |name: &str, within| MessageType {
            name: name.to_owned(),
            within,
        };
        let deep = message("Other", vec![message("Deep", vec![])]);
        let paid = message("Paid", vec![message("Line", vec![]), deep]);
        let all = message("", vec![paid, message("paid_back", vec![])]);
        assert_eq!(file, ProtoFile(all));
    }

    #[test]
    fn what_is_no_file_has_no_messages() {
        for text in [
            "",
            "}}}{",
            "message",
            "message X",
            "message X {",
            "\"",
            "/*",
            "é{",
        ] {
            assert_eq!(ProtoFile::read(text), ProtoFile(MessageType::default()), "{text}");
        }
    }

    #[test]
    fn a_type_is_called_as_its_message_is() {
        assert!(is_called("shop::paid::PaidBack", "paid_back"));
        assert!(is_called("Boxed<shop::Paid>", "boxed"));
        assert!(!is_called("shop::Paid", "PaidBack"));
    }
}
