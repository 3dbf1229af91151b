//! The client: HTTP/1.1 on keep-alive connections with as little CPU as possible, since it shares the machine with what
//! it measures. It reads what this server sends (a status line, headers with `Content-Length`, a body) and no more.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Connection {
    /// Connects to a server on this machine.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver of a measurement calls only the cell it has started"
    )]
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends one request, head and body, and waits for the whole answer.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (status, head, length) = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(found) = head(&self.buffer)? {
                break found;
            }
        };
        let whole = head + length;
        if self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
        }
        while self.buffer.len() < whole {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Answer { status, body: &self.buffer[head..whole] })
    }
}

/// Status, length of the head and length of the body, once the head is whole.
fn head(bytes: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let odd =
        || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1 with a Content-Length");
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| odd())?;
    let status = text.get(9..12).and_then(|digits| digits.parse().ok()).ok_or_else(odd)?;
    let length = text
        .lines()
        .find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(odd)?;
    Ok(Some((status, end + 4, length)))
}

/// Writes a request with a JSON body into `out`, in place of what is there. `head` is [`post_head`]'s.
pub fn post(out: &mut Vec<u8>, head: &str, body: &[u8]) {
    use io::Write;
    out.clear();
    out.extend_from_slice(head.as_bytes());
    // Writing to memory does not fail.
    let _ = write!(out, "content-length: {}\r\n\r\n", body.len());
    out.extend_from_slice(body);
}

/// The head of a POST but for the length of its body.
pub fn post_head(path: &str, token: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
    )
}

/// A GET.
pub fn get(out: &mut Vec<u8>, path: &str, id: impl std::fmt::Display, rest: &str, token: &str) {
    use io::Write;
    out.clear();
    let _ =
        write!(out, "GET {path}{id}{rest} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let whole = b"HTTP/1.1 201 Created\r\nX: y\r\nContent-Length: 12\r\n\r\n{}";
        assert_eq!(head(whole).unwrap(), Some((201, whole.len() - 2, 12)));
        assert_eq!(head(&whole[..40]).unwrap(), None);
        assert!(head(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0-x\r\ncontent-length: 1\r\n\r\n").is_err());
    }
}
