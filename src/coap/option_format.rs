//! The bytes of options (RFC 7252 §3.1): delta, length, value.
//!
//! `coap-message-implementations` has the like, with panics that no input reaches but that a firmware image would hold.

/// How many bytes stand in front of an option's value at most.
pub(super) const MAX_FRONT: usize = 5;

/// The front of `bytes` as an option: its delta, the length of its value, and what follows its first bytes, value first.
/// `None` where it is none; the value may still be cut off.
pub(super) fn parse(bytes: &[u8]) -> Option<(u16, usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (delta, rest) = extended(first >> 4, rest)?;
    let (len, rest) = extended(first & 0x0f, rest)?;
    Some((delta, usize::from(len), rest))
}

/// "A value between 0 and 12", or what it is extended to; 15 is reserved.
fn extended(nibble: u8, rest: &[u8]) -> Option<(u16, &[u8])> {
    match nibble {
        0..=12 => Some((u16::from(nibble), rest)),
        13 => {
            let (&byte, rest) = rest.split_first()?;
            Some((u16::from(byte) + 13, rest))
        }
        14 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            Some((u16::from_be_bytes(*bytes).checked_add(269)?, rest))
        }
        _ => None,
    }
}

/// Writes the first bytes of an option to the front of `buffer`, and returns what follows them; `None` where it is full.
pub(super) fn emit(buffer: &mut [u8], delta: u16, len: u16) -> Option<&mut [u8]> {
    let (first, rest) = buffer.split_first_mut()?;
    let (delta, rest) = extend(rest, delta)?;
    let (len, rest) = extend(rest, len)?;
    *first = (delta << 4) | len;
    Some(rest)
}

/// The bytes of a `uint` (§3.2), as few as can be: those of `bytes` that are left of it.
pub(super) fn uint(value: u32, bytes: &mut [u8; 4]) -> &[u8] {
    *bytes = value.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// Writes what extends a nibble to `value`, and returns the nibble.
fn extend(buffer: &mut [u8], value: u16) -> Option<(u8, &mut [u8])> {
    let [high, low] = value.saturating_sub(269).to_be_bytes();
    match value {
        0..=12 => Some((value as u8, buffer)),
        13..=268 => {
            let (byte, rest) = buffer.split_first_mut()?;
            *byte = (value - 13) as u8;
            Some((13, rest))
        }
        _ => {
            let (bytes, rest) = buffer.split_first_chunk_mut()?;
            *bytes = [high, low];
            Some((14, rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for delta in [0, 1, 12, 13, 14, 268, 269, 270, 1_000, u16::MAX - 1, u16::MAX] {
            for len in [0, 12, 13, 268, 269, u16::MAX] {
                let mut buffer = [0xee; 6];
                let used = 6 - emit(&mut buffer, delta, len).unwrap().len();
                assert_eq!(parse(&buffer), Some((delta, usize::from(len), &buffer[used..])));
                for short in 0..used {
                    assert_eq!(parse(&buffer[..short]), None);
                    assert_eq!(emit(&mut [0; 5][..short], delta, len), None);
                }
            }
        }
    }
}
