//! Server-sent events (WHATWG HTML §9.2.6, "Interpreting an event stream"), read bit by bit.

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Its kind; empty for `message`.
    pub event: String,
    /// Its lines, joined.
    pub data: String,
    /// The last id that the stream has named, which a reader who comes back names.
    pub id: String,
}

/// More than any event here is long; a stream that has no line's end in it is none.
const LONGEST: usize = 1024 * 1024;

/// An event is longer than this reader takes.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Reads a stream from its beginning.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, to which a line feed belongs.
    returned: bool,
    /// Whether a line was read: a byte order mark may stand only before the first.
    begun: bool,
    event: String,
    data: Option<String>,
    id: String,
}

impl Reader {
    /// Takes the next bytes; the events that end in them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut ended = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.returned, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => ended.extend(self.line_ends()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > LONGEST {
                return Err(TooLong);
            }
        }
        Ok(ended)
    }

    fn line_ends(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let mut line = &*line;
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let data = self.data.take()?;
            return Some(Message { event, data, id: self.id.clone() });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // A comment, which has no name, and what is unknown.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], at_a_time: usize) -> Vec<(String, String, String)> {
        let mut reader = Reader::default();
        let messages = text.chunks(at_a_time).flat_map(|part| reader.push(part).unwrap());
        messages.map(|Message { event, data, id }| (event, data, id)).collect()
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = "\u{feff}: hello\n\nevent: step\nid: 1\ndata: {\"name\":\"ñ\"}\n\nid\ndata\n\n\
                    data:a\r\ndata:  b\r\rid: x\0y\nevent: state\nretry: 5\nnonsense\ndata: c: d\n\nevent: lost\n\n\
                    data: never ended\n";
        let message = |event: &str, data: &str, id: &str| (event.into(), data.into(), id.into());
        let expected = [
            message("step", "{\"name\":\"ñ\"}", "1"),
            message("", "", ""),
            message("", "a\n b", ""),
            message("state", "c: d", ""),
        ];
        for at_a_time in [1, 2, 3, 7, text.len()] {
            assert_eq!(read(text.as_bytes(), at_a_time), expected, "{at_a_time} bytes at a time");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut reader = Reader::default();
        assert_eq!(reader.push(&vec![b'x'; LONGEST]), Ok(vec![]));
        assert_eq!(reader.push(b"x"), Err(TooLong));
        let mut reader = Reader::default();
        assert_eq!(reader.push(&b"data: 0123456789\n".repeat(LONGEST / 10)), Err(TooLong));
    }
}
