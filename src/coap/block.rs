//! The Block1 and Block2 options: which part of a body a message is about (RFC 7959 §2).

use super::MessageOption;

/// The value of a Block option: a block of 2^(`szx` + 4) bytes, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// NUM: how many blocks of this size are in front of it. At most [`MAX_NUMBER`](Self::MAX_NUMBER).
    pub(super) number: u32,
    /// M: whether more blocks follow.
    pub(super) more: bool,
    /// SZX: 0 to 6, for 16 to 1024 bytes.
    pub(super) szx: u8,
}

/// Why bytes are no Block option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBlock {
    /// SZX is 7, which "MUST lead to a 4.00 Bad Request response code upon reception in a request" (§2.2).
    Reserved,
    /// It is longer than three bytes.
    TooLong,
}

impl Block {
    /// SZX of the longest blocks, of 1024 bytes.
    pub(super) const MAX_SZX: u8 = 6;
    /// NUM has 20 bits.
    pub(super) const MAX_NUMBER: u32 = 0xf_ffff;

    pub(super) fn parse(option: &MessageOption<'_>) -> Result<Self, BadBlock> {
        Self::from_uint(option.uint(3).ok_or(BadBlock::TooLong)?)
    }

    /// From the bytes of an option's value.
    pub(super) fn from_value(value: &[u8]) -> Option<Self> {
        let uint = value.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
        Self::from_uint(uint).ok().filter(|_| value.len() <= 3)
    }

    fn from_uint(value: u32) -> Result<Self, BadBlock> {
        let szx = (value & 0x07) as u8;
        if szx > Self::MAX_SZX {
            return Err(BadBlock::Reserved);
        }
        Ok(Self { number: value >> 4, more: value & 0x08 != 0, szx })
    }

    /// The first block of a body, of the longest size that `room` bytes hold: of 16 bytes where there is no room at all.
    pub(super) fn first(room: usize) -> Self {
        Self { number: 0, more: false, szx: fitting_szx(room) }
    }

    /// The block at this offset, a multiple of the block's length; `None` past the last that there may be.
    pub(super) fn at(offset: usize, more: bool, szx: u8) -> Option<Self> {
        let number = u32::try_from(offset >> (szx + 4)).ok().filter(|number| *number <= Self::MAX_NUMBER)?;
        Some(Self { number, more, szx })
    }

    /// How many bytes a block has, the last of a body excepted.
    pub(super) const fn len(&self) -> usize {
        1 << (self.szx + 4)
    }

    /// Where in the body it begins.
    pub(super) const fn offset(&self) -> usize {
        (self.number as usize) << (self.szx + 4)
    }

    /// The block that begins at the same place and has at most so many bytes, but 16 at least.
    pub(super) fn at_most(self, room: usize) -> Self {
        let szx = self.szx.min(fitting_szx(room));
        Self { number: self.number << (self.szx - szx), szx, ..self }
    }

    /// The value of the option.
    pub(super) const fn value(&self) -> u32 {
        (self.number << 4) | ((self.more as u32) << 3) | self.szx as u32
    }
}

/// SZX of the longest blocks that fit into `room` bytes.
fn fitting_szx(room: usize) -> u8 {
    (0..=Block::MAX_SZX).rev().find(|szx| 1 << (szx + 4) <= room).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (room, len) in [(0, 16), (16, 16), (31, 16), (32, 32), (1023, 512), (1024, 1024), (5_000, 1024)] {
            assert_eq!(Block::first(room).len(), len);
        }
        let block = Block { number: 3, more: true, szx: 6 };
        assert_eq!((block.offset(), block.value()), (3_072, 0x3e));
        let shorter = block.at_most(100);
        assert_eq!((shorter.number, shorter.len(), shorter.offset()), (48, 64, 3_072));
        assert_eq!(Block::at(3_072, true, 6), Some(block));
        assert_eq!(Block::at(16 << 20, true, 0), None);
    }
}
