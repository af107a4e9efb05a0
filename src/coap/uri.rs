//! From a host, a path and a query to Uri-Host, Uri-Path and Uri-Query options (RFC 7252 §6.4).

use coap_numbers::option::{URI_HOST, URI_PATH, URI_QUERY};

use super::writer::Writer;

/// Why a host or a path cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathError {
    /// It is not the host, or the path and query, of a URI.
    Invalid,
    /// It does not fit into the message.
    TooLong,
}

/// The longest host, segment of a path, and argument of a query, in bytes (§5.10 table 4).
const MAX_SEGMENT: usize = 255;

/// Adds the option for `host`, which is the name of a host, with percent-encoding where it needs any.
pub(super) fn write_host(writer: &mut Writer<'_>, host: &str) -> Result<(), PathError> {
    // No host has these in it, but URIs, addresses with ports, and IPv6 addresses do.
    if host.is_empty() || host.contains([':', '/', '?', '#', '@', '[', ']']) {
        return Err(PathError::Invalid);
    }
    write_segment(writer, URI_HOST, host)
}

/// Adds the options for `path`, which is like `/a/b` or `/a/b?c=1&d`, with percent-encoding where it needs any.
pub(super) fn write_path(writer: &mut Writer<'_>, path: &str) -> Result<(), PathError> {
    if path.contains('#') {
        return Err(PathError::Invalid);
    }
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    // "If the value of the <path> component is empty or consists of a single slash character, [...] no Uri-Path".
    if let Some(segments) = path.strip_prefix('/') {
        if !segments.is_empty() {
            for segment in segments.split('/') {
                // "The value of a Uri-Path Option MUST NOT be '.' or '..'" (§5.10.1).
                if matches!(segment, "." | "..") {
                    return Err(PathError::Invalid);
                }
                write_segment(writer, URI_PATH, segment)?;
            }
        }
    } else if !path.is_empty() {
        return Err(PathError::Invalid);
    }
    for argument in query.into_iter().flat_map(|query| query.split('&')) {
        write_segment(writer, URI_QUERY, argument)?;
    }
    Ok(())
}

fn write_segment(writer: &mut Writer<'_>, number: u16, segment: &str) -> Result<(), PathError> {
    let mut len = 0_usize;
    // "converted to ASCII lowercase, and then convert all percent-encodings" (§6.4) is for hosts alone.
    let decoded = || Decoded { rest: segment.as_bytes(), lowercase: number == URI_HOST };
    for byte in decoded() {
        byte?;
        len += 1;
    }
    if len > MAX_SEGMENT {
        return Err(PathError::Invalid);
    }
    let mut valid = false;
    writer
        .add_option_with(number, len, |value| {
            for (to, byte) in value.iter_mut().zip(decoded()) {
                *to = byte.unwrap_or_default();
            }
            // These options are text in UTF-8 (§3.2), and what percents stand for may be anything; dots among it too.
            valid = core::str::from_utf8(value).is_ok()
                && !(number == URI_PATH && matches!(&*value, b"." | b".."));
        })
        .map_err(|_| PathError::TooLong)?;
    if valid { Ok(()) } else { Err(PathError::Invalid) }
}

/// The bytes that a percent-encoded text stands for (RFC 3986 §2.1).
struct Decoded<'a> {
    rest: &'a [u8],
    /// Whether bytes that stand for themselves become lowercase.
    lowercase: bool,
}

impl Iterator for Decoded<'_> {
    type Item = Result<u8, PathError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&first, rest) = self.rest.split_first()?;
        if first != b'%' {
            self.rest = rest;
            return Some(Ok(if self.lowercase { first.to_ascii_lowercase() } else { first }));
        }
        let decoded = rest.split_first_chunk::<2>().and_then(|(&[high, low], rest)| {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            Some((digit(high)? << 4 | digit(low)?, rest))
        });
        let Some((byte, rest)) = decoded else {
            self.rest = &[];
            return Some(Err(PathError::Invalid));
        };
        self.rest = rest;
        Some(Ok(byte))
    }
}
