//! `supported_versions` (RFC 8446 §4.2.1).

use super::{InvalidMessage, Reader};

/// Whether a client's list holds this version.
pub fn contains(data: &[u8], version: [u8; 2]) -> Result<bool, InvalidMessage> {
    let mut r = Reader::new(data);
    let versions = r.vec8()?;
    r.finish()?;
    if versions.is_empty() || !versions.len().is_multiple_of(2) {
        return Err(InvalidMessage::IllegalLength);
    }
    Ok(versions.chunks_exact(2).any(|offered| offered == version))
}

/// The version that a server has chosen.
pub fn selected(data: &[u8]) -> Result<[u8; 2], InvalidMessage> {
    let mut r = Reader::new(data);
    let version = r.array()?;
    r.finish()?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let both = [4, 0xFE, 0xFC, 0xFE, 0xFD];
        assert_eq!(contains(&both, [0xFE, 0xFD]), Ok(true));
        assert_eq!(contains(&both, [0xFE, 0xFF]), Ok(false));
        // Not at an odd place.
        assert_eq!(contains(&[4, 0, 0xFE, 0xFC, 0], [0xFE, 0xFC]), Ok(false));
        assert_eq!(contains(&[0], [0xFE, 0xFC]), Err(InvalidMessage::IllegalLength));
        assert_eq!(contains(&[3, 0xFE, 0xFC, 0], [0xFE, 0xFC]), Err(InvalidMessage::IllegalLength));
        assert_eq!(contains(&[2, 0xFE], [0xFE, 0xFC]), Err(InvalidMessage::Truncated));
        assert_eq!(contains(&[2, 0xFE, 0xFC, 0], [0xFE, 0xFC]), Err(InvalidMessage::TrailingData));
        assert_eq!(selected(&[0xFE, 0xFC]), Ok([0xFE, 0xFC]));
        assert_eq!(selected(&[0xFE]), Err(InvalidMessage::Truncated));
        assert_eq!(selected(&[0xFE, 0xFC, 0]), Err(InvalidMessage::TrailingData));
    }
}
